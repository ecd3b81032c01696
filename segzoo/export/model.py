"""From a trained model to a file that was compared with it."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from segzoo.data.normalise import Normalise
from segzoo.data.source import Sample
from segzoo.errors import UsageFault
from segzoo.export.form import IMAGES, MAX_MIOU_LOSS, TOLERANCE, Form, check_target
from segzoo.export.metadata import as_text, describe_export
from segzoo.export.onnx import embed, export_onnx, require_onnx
from segzoo.export.parity import compare_outputs, find_faults
from segzoo.export.parity_report import Calibration, ExportReport, OutputComparison, ParityError, Speed
from segzoo.export.programs import compile_program, export_program, require_compiler, save_program, smallest_side
from segzoo.export.quantise import measure_speed, quantise
from segzoo.export.tracing import DIMENSIONS, Half
from segzoo.export.validation import Validation, find_recipe_of, open_validation
from segzoo.files import sha256_file, sync_folder, write_atomic
from segzoo.inference.description import is_exported
from segzoo.inference.exported import Network, OnnxNetwork, load_compiled, load_program
from segzoo.inference.loading import Trained, load_trained
from segzoo.recipe import Recipe

logger = logging.getLogger(__name__)

CALIBRATION_IMAGES = 32
"""How many images show the ranges of int8 numbers at most."""


@dataclass(frozen=True)
class ExportPlan:
    """The sizes of an export.

    Args:
        dynamic: The dimensions left open.
        trained: Height and width that the network was trained on.
        traced: Those that the export is made with.
        compared: Those that it is compared at, none of which it was made with where they are open.
    """

    dynamic: tuple[str, ...]
    trained: tuple[int, int]
    traced: tuple[int, int]
    compared: tuple[tuple[int, int], ...]


def export_model(
    source: str | Path,
    out: Path,
    form: Form,
    *,
    recipe: Recipe | None = None,
    images: int = IMAGES,
    max_miou_loss: float = MAX_MIOU_LOSS,
    overwrite: bool = False,
) -> ExportReport:
    """Write a trained model to a file that runs without segzoo, once it says what the model says.

    The file has preprocessing, classes and palette inside it (ONNX) or beside it, in a file of its name and ``.json``.

    Args:
        source: A run directory, its ``model`` folder, any folder with ``model.json`` and ``model.safetensors``, or
            ``hf-hub:owner/name``.
        out: The file.
        form: What it is to be.
        recipe: Where real images are; None takes the run's own recipe.
        images: How many of its validation images are compared at most.
        max_miou_loss: Loss of mean IoU, 0 to 1, that passes where the form has shorter numbers.
        overwrite: Whether a file that exists is replaced.

    Raises:
        ValueError: If ``images`` is below 1.
        ParityError: If the file says something else; it is then not kept.
        UsageFault: If the source is an exported file.
        SegzooError: If there is no such model or data, or the model cannot be exported.
    """
    if images < 1:
        raise ValueError(f"images must be at least 1, got {images}")
    if is_exported(source):
        raise UsageFault(f"{source} is an exported file; give the run that it was made from")
    check_target(out, form, overwrite=overwrite)
    _check_tools(form)
    loaded = load_trained(source)
    validation = open_validation(recipe or find_recipe_of(Path(source)), loaded.description)
    trained = loaded.description.image_size or validation.first_size()
    plan = plan_sizes(trained, loaded.spec.fixed_export_dims, dynamic=form.dynamic)
    if loaded.description.image_size is None and not {"height", "width"} <= set(plan.dynamic):
        logger.warning(
            "the model sees images at their own size, the file sees all of them resized to %dx%d, which is that of the "
            "first validation image; --dynamic leaves sizes open where the model can",
            *trained,
        )
    for name, reason in loaded.spec.fixed_export_dims.items() if form.dynamic else ():
        logger.warning("%s keeps its %s: %s", loaded.spec.name, name, reason)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=".partial") as folder:
        making = _Making(loaded, form, plan, validation, Path(folder))
        compared, calibrated = deal(validation.samples, images, form)
        draft, speed = making.write(out.name, calibrated)
        report = making.report(draft, out, compared, calibrated, speed, max_miou_loss)
        if report.faults:
            raise ParityError(report)
        if form.format != "onnx":
            about = making.metadata | {"file_sha256": report.sha256}
            write_atomic(out.with_name(f"{out.name}.json"), json.dumps(about, indent=2) + "\n")
        draft.replace(out)
        sync_folder(out.parent)
    return report


def plan_sizes(trained: tuple[int, int], fixed: Collection[str], *, dynamic: bool) -> ExportPlan:
    """Choose the sizes that an export is made with and compared at.

    Args:
        trained: Height and width that the network was trained on.
        fixed: Dimensions that the model cannot leave open.
        dynamic: Whether the others are left open.
    """
    dimensions = tuple(name for name in DIMENSIONS if dynamic and name not in fixed)

    def moved(height: int, width: int) -> tuple[int, int]:
        return trained[0] + height * ("height" in dimensions), trained[1] + width * ("width" in dimensions)

    # The second one is odd, and no multiple of any stride.
    return ExportPlan(dimensions, trained, moved(32, 64), tuple(dict.fromkeys((trained, moved(33, 35)))))


def deal(samples: Sequence[Sample], images: int, form: Form) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Return the samples that are compared, and those that show the ranges of int8 numbers.

    Where there are two or more, these are others than those.
    """
    if form.precision != "int8":
        return samples[:images], ()
    return samples[::2][:images], (samples[1::2] or samples)[:CALIBRATION_IMAGES]


class _Making:
    """One export on its way: what it is made of, in a folder that goes when it is done."""

    def __init__(self, loaded: Trained, form: Form, plan: ExportPlan, validation: Validation, folder: Path) -> None:
        self.loaded = loaded
        self.form = form
        self.plan = plan
        self.validation = validation
        self.folder = folder
        self.normalise = Normalise(loaded.description.mean, loaded.description.std)
        self.min_size = loaded.min_size

    @property
    def metadata(self) -> dict[str, Any]:
        """What goes with the file; the smallest size is known once the file is written."""
        fixed = "height" not in self.plan.dynamic or "width" not in self.plan.dynamic
        size = self.plan.trained if fixed else self.loaded.description.image_size
        return describe_export(
            self.loaded.description, self.form, size, open_dimensions=self.plan.dynamic, min_size=self.min_size
        )

    def write(self, name: str, calibrated: Sequence[Sample]) -> tuple[Path, Speed | None]:
        """Write the file as a draft; return it, and how fast it is where that is measured."""
        logger.info("exporting %s to %s in %s", self.loaded.description.id, self.form.format, self.form.precision)
        draft = self.folder / name
        model: nn.Module = Half(self.loaded.model) if self.form.precision == "fp16" else self.loaded.model
        channels, size, dynamic = self.loaded.description.in_channels, self.plan.traced, self.plan.dynamic
        if self.form.format != "onnx":
            program = export_program(model, in_channels=channels, size=size, dynamic=dynamic)
            if {"height", "width"} & set(dynamic):
                self.min_size = smallest_side(program, in_channels=channels, size=size, least=self.min_size)
            (compile_program if self.form.format == "aoti" else save_program)(program, draft)
            return draft, None
        export_onnx(model, draft, in_channels=channels, size=size, dynamic=dynamic)
        speed = self._shorten(draft, calibrated) if self.form.precision == "int8" else None
        embed(draft, as_text(self.metadata))
        return draft, speed

    def report(
        self,
        draft: Path,
        out: Path,
        compared: Sequence[Sample],
        calibrated: Sequence[Sample],
        speed: Speed | None,
        max_miou_loss: float,
    ) -> ExportReport:
        """Compare the draft with the model and return all that is known of it."""
        comparisons = tuple(self._compare(draft, compared))
        form, description = self.form, self.loaded.description
        overlap = len(set(compared) & set(calibrated))
        return ExportReport(
            file=str(out),
            sha256=sha256_file(draft),
            bytes=draft.stat().st_size,
            model=description.id,
            format=form.format,
            precision=form.precision,
            open_dimensions=self.plan.dynamic,
            fixed_dimensions=dict(self.loaded.spec.fixed_export_dims) if form.dynamic else {},
            exported_at=self.plan.traced,
            split=self.validation.split,
            comparisons=comparisons,
            gate=f"largest difference of logits up to {TOLERANCE:g}"
            if form.exact
            else f"loss of mean IoU up to {max_miou_loss:g}",
            calibration=Calibration(split=self.validation.split, images=len(calibrated), compared=overlap)
            if calibrated
            else None,
            speed=speed,
            faults=tuple(find_faults(comparisons, form, max_miou_loss=max_miou_loss)),
        )

    def _shorten(self, draft: Path, calibrated: Sequence[Sample]) -> Speed:
        full = draft.with_suffix(".fp32.onnx")
        draft.rename(full)
        quantise(full, draft, (self._image(sample) for sample in calibrated))
        return measure_speed(OnnxNetwork(full), OnnxNetwork(draft), self._image(calibrated[0]))

    def _image(self, sample: Sample) -> Tensor:
        image: Tensor = self.normalise(self.validation.read(sample, self.plan.trained)[0][None])
        return image

    def _compare(self, draft: Path, samples: Sequence[Sample]) -> list[OutputComparison]:
        exported = self._open(draft)
        found = []
        for number, size in enumerate(self.plan.compared):
            logger.info("comparing %d images of %dx%d pixels", len(samples), *size)
            # One image in a batch at the first size, two at the second.
            batch = 1 + number * ("batch" in self.plan.dynamic)
            found.append(
                compare_outputs(
                    self.loaded.model,
                    exported,
                    self.validation,
                    samples,
                    self.normalise,
                    size=size,
                    batch=batch,
                    exact=self.form.exact,
                )
            )
        return found

    def _open(self, draft: Path) -> Network:
        match self.form.format:
            case "onnx":
                return OnnxNetwork(draft)
            case "torch-export":
                return load_program(draft)
            case "aoti":
                return load_compiled(draft)


def _check_tools(form: Form) -> None:
    if form.format == "onnx":
        require_onnx()
    elif form.format == "aoti":
        require_compiler()
