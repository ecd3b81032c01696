"""``segzoo predict``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segzoo.cli.progress import counting
from segzoo.errors import Interrupted, SegzooError, UsageFault
from segzoo.inference.description import find_model, is_exported
from segzoo.inference.method import Augmentation, Method, read_augmentations
from segzoo.recipe.schema import OVERLAP

if TYPE_CHECKING:
    from segzoo.inference.predictor import Predictor


def predict(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL", help="A run, a folder with model.json, hf-hub:owner/name, or an exported file."
        ),
    ],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE|FOLDER|GLOB…", help="What to label.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the masks.")],
    extras: Annotated[
        str,
        typer.Option(
            "--write",
            metavar="LIST",
            help="Beside the masks: overlay, probabilities (npz), geojson (contours), coco (run lengths).",
        ),
    ] = "",
    window: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Slide a window of 512, or 512x768 (height x width), over each image."),
    ] = None,
    overlap: Annotated[float | None, typer.Option(help="Share of a window that the next one covers; 0.25.")] = None,
    tta: Annotated[str, typer.Option(metavar="LIST", help="Average over flip, scales, or flip,scales.")] = "",
    crf: Annotated[bool, typer.Option("--crf", help="Refine by a conditional random field.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images, or windows of one, scored at once.")] = 4,
    max_megapixels: Annotated[float, typer.Option(min=0, help="Larger images are refused if decoded whole.")] = 200,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
    mode: Annotated[
        Literal["eager", "best"], typer.Option(help="best looks for the fastest way to run that says the same.")
    ] = "eager",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Go on where a former call ended: keep what is labelled.")
    ] = False,
) -> None:
    """Label images: a palette PNG of each one's own size, and on request more."""
    size = _window(window)
    if overlap is not None and not 0 <= overlap < 1:
        raise UsageFault(f"--overlap must be at least 0 and below 1, got {overlap:g}")
    if out.exists() and not out.is_dir():
        raise UsageFault(f"--out {out} is not a folder")
    if overwrite and skip_existing:
        raise UsageFault("--overwrite replaces what --skip-existing keeps; choose one")
    augmentations = read_augmentations(tta)
    # numpy starts here, and torch when nothing is left that could be told without it.
    from segzoo.inference.inputs import find_images
    from segzoo.inference.outputs import read_extras

    wanted = read_extras(extras)
    if not is_exported(source):
        find_model(source)
    found = find_images(images, beside=out)
    from segzoo.inference.loading import load
    from segzoo.inference.predict import predict_files
    from segzoo.runtime.signals import StopRequest, stop_on_signals

    predictor = load(source, device=device, mode=mode)
    _check_sizes(size, augmentations, predictor)
    size = size or predictor.method.window
    if size is None and overlap is not None:
        raise UsageFault(f"--overlap {overlap:g} is that of windows; give --window, such as --window 512")
    method = Method(size, OVERLAP if overlap is None else overlap, augmentations, crf, batch_size)
    done = 0

    def written(mask: Path) -> None:
        nonlocal done
        done += 1
        typer.echo(mask)

    try:
        with stop_on_signals(StopRequest()), counting("labelled") as watch:
            outcome = predict_files(
                predictor,
                found,
                out,
                method=method,
                extras=wanted,
                max_pixels=int(max_megapixels * 1e6),
                existing="replace" if overwrite else "keep" if skip_existing else "refuse",
                advance=watch(len(found)),
                written=written,
            )
    except Interrupted as error:
        # After --overwrite, masks of another model may be among those that are there.
        advice = "" if overwrite else "; --skip-existing goes on with the others"
        raise Interrupted(error.signum, f"{error}: {done} of {len(found)} images were labelled{advice}") from None
    if outcome.faults:
        rest = f"; the rest is in {out}" if outcome.masks or outcome.kept else ""
        raise SegzooError(f"{len(outcome.faults)} of {len(found)} images could not be labelled, as said above{rest}")


def _window(text: str | None) -> tuple[int, int] | None:
    """Return height and width of a window written as ``512`` or ``512x768``."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,5})(?:x([1-9]\d{0,5}))?", text)
    if found is None:
        raise UsageFault(f"--window is a number of pixels such as 512, or height x width such as 512x768, got {text!r}")
    return int(found[1]), int(found[2] or found[1])


def _check_sizes(window: tuple[int, int] | None, augmentations: Sequence[Augmentation], predictor: Predictor) -> None:
    """Refuse windows and scales that the model does not take."""
    if window is not None and min(window) < predictor.min_size:
        raise UsageFault(
            f"--window {window[0]}x{window[1]} is below the {predictor.min_size} pixels that the model needs"
        )
    height, width = predictor.description.fixed_size
    if (height or width) and (window is not None or "scales" in augmentations):
        option = "--window" if window is not None else "--tta scales"
        raise UsageFault(
            f"{option} shows the network images of other sizes, and the exported file takes {height or 'any'}x"
            f"{width or 'any'} pixels alone; leave it out, or export with --dynamic"
        )
