"""An export is there when it says what its model says, and only then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segzoo import finetune
from segzoo.catalog import BUILTIN_SPECS
from segzoo.errors import EnvironmentFault, UsageFault
from segzoo.export import model as exporting
from segzoo.export.form import Form
from segzoo.export.model import deal, export_model, plan_sizes
from segzoo.export.parity_report import ExportReport, ParityError
from segzoo.inference.loading import load, load_model
from segzoo.params import validate_params
from segzoo.recipe import load_recipe
from segzoo.spec import ModelSpec

SIDES = (64, 96)


def export_zoo_model(leave_run: Callable[..., Path], spec: ModelSpec, out: Path) -> ExportReport:
    """Export a model of the zoo with random weights to ONNX, with everything open that can be."""
    smallest = spec.refined(validate_params(spec, {})).input.min_size
    height, width = (max(side, smallest) for side in SIDES)
    return export_model(
        leave_run(f"segzoo/{spec.name}", image_size=(height, width)), out, Form("onnx", dynamic=True), images=2
    )


def assert_open(report: ExportReport, spec: ModelSpec) -> None:
    """What the spec does not fix is open, and was compared at two sizes that the export was not made with."""
    fixed = spec.fixed_export_dims
    assert report.open_dimensions == tuple(name for name in ("batch", "height", "width") if name not in fixed)
    assert report.fixed_dimensions == fixed
    assert all(reason for reason in fixed.values())
    sizes = [each.size for each in report.comparisons]
    if not {"height", "width"} & fixed.keys():
        assert len(set(sizes)) == 2
        assert report.exported_at not in sizes


@pytest.mark.usefixtures("onnx")
@pytest.mark.parametrize("name", ["fast_scnn", "segnet_pets_separable"])
def test_models_export_with_open_sizes(leave_run: Callable[..., Path], tmp_path: Path, name: str) -> None:
    """Pyramid pooling and unpooling agree with torch to 1e-3 at sizes the export never saw."""
    spec = next(spec for spec in BUILTIN_SPECS if spec.name == name)
    report = export_zoo_model(leave_run, spec, tmp_path / "model.onnx")
    assert_open(report, spec)
    assert report.open_dimensions == ("batch", "height", "width")
    assert all(each.decided_difference is not None and each.decided_difference <= 1e-3 for each in report.comparisons)
    if "unpooling" not in spec.tags:
        assert all(each.undecided == 0 for each in report.comparisons)
    assert (tmp_path / "model.onnx").stat().st_size == report.bytes


EXPORTED: dict[str, ExportReport] = {}
"""The report of each network: several names stand for one."""


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
@pytest.mark.parametrize("spec", BUILTIN_SPECS, ids=lambda spec: spec.name)
def test_every_model_exports(leave_run: Callable[..., Path], tmp_path: Path, spec: ModelSpec) -> None:
    """Every built-in model exports, and what of it is not open its spec tells with a reason."""
    params = validate_params(spec, {})
    key = spec.builder + params.model_dump_json()
    if key not in EXPORTED:
        EXPORTED[key] = export_zoo_model(leave_run, spec, tmp_path / "model.onnx")
    assert_open(EXPORTED[key], spec)
    assert EXPORTED[key].faults == ()


def test_sizes() -> None:
    """Where sizes are open, the export is made at none of those that are compared; a fixed one stays."""
    plan = plan_sizes((96, 128), {}, dynamic=True)
    assert plan.dynamic == ("batch", "height", "width")
    assert plan.traced not in plan.compared
    assert plan.compared == ((96, 128), (129, 163))
    fixed = plan_sizes((96, 128), {"width"}, dynamic=True)
    assert (fixed.dynamic, fixed.traced, fixed.compared) == (("batch", "height"), (128, 128), ((96, 128), (129, 128)))
    static = plan_sizes((96, 128), {}, dynamic=False)
    assert (static.dynamic, static.traced, static.compared) == ((), (96, 128), ((96, 128),))


def test_calibration_images_are_others() -> None:
    """Ranges come from images that the gate does not compare, as long as there are two."""
    samples = list(range(10))
    assert deal(samples, 3, Form()) == ([0, 1, 2], ())  # type: ignore[arg-type]
    compared, calibrated = deal(samples, 3, Form("onnx", "int8"))  # type: ignore[arg-type]
    assert (compared, calibrated) == ([0, 2, 4], [1, 3, 5, 7, 9])
    assert deal([7], 3, Form("onnx", "int8")) == ([7], [7])  # type: ignore[arg-type, list-item]


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_onnx_holds_its_metadata(leave_run: Callable[..., Path], tmp_path: Path) -> None:
    """Preprocessing, classes and palette are inside the one file; a fixed size is the trained one."""
    import onnxruntime

    run, out = leave_run(), tmp_path / "model.onnx"
    report = export_model(run, out, Form(), images=2)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    known = json.loads((run / "model" / "model.json").read_text())
    assert all(json.loads(about[key]) == known[key] for key in ("mean", "std", "palette", "classes", "image_size"))
    assert session.get_inputs()[0].shape == [1, 3, 32, 48]
    images = [np.random.default_rng(0).integers(0, 256, (50, 41, 3), dtype=np.uint8)] * 2
    masks = [load(source, device="cpu").predict(images) for source in (run, out)]
    assert np.array_equal(masks[0], masks[1])
    assert (report.open_dimensions, report.exported_at) == ((), (32, 48))
    assert [path.name for path in tmp_path.iterdir() if path != run] == ["model.onnx"]


@pytest.mark.usefixtures("onnx")
def test_int8_report(leave_run: Callable[..., Path], tmp_path: Path) -> None:
    """Loss and speed are in the report, whatever they are, and where the ranges come from."""
    report = export_model(leave_run(), tmp_path / "model.onnx", Form("onnx", "int8"), images=2, max_miou_loss=1.0)
    assert report.calibration is not None
    assert (report.calibration.images, report.calibration.compared) == (2, 0)
    assert report.speed is not None
    assert report.speed.size == (32, 48)
    assert report.comparisons[0].miou_lost is not None
    assert report.gate == "loss of mean IoU up to 1"


@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
def test_torch_export(leave_run: Callable[..., Path], tmp_path: Path, precision: Any) -> None:
    """A program of torch has its metadata beside it, and takes and gives float32 in either precision."""
    run, out = leave_run("segzoo/unet", image_size=(64, 96)), tmp_path / "model.pt2"
    report = export_model(run, out, Form("torch-export", precision, dynamic=True), images=2, max_miou_loss=1.0)
    about = json.loads((tmp_path / "model.pt2.json").read_text())
    assert about["image_size"] == [64, 96]
    assert about["precision"] == precision
    image = torch.rand(2, 3, 40, 40)
    logits = torch.export.load(out).module()(image)
    assert logits.dtype == torch.float32
    tolerance = 1e-4 if precision == "fp32" else 0.5
    torch.testing.assert_close(logits, load_model(run).model(image), rtol=0, atol=tolerance)
    assert report.open_dimensions == ("batch", "height", "width")
    opened, trained = load_model(out), load_model(run)
    assert opened.description.names == trained.description.names
    assert (opened.min_size, trained.min_size) == (17, 16)  # at 16 a layer's result is one pixel high
    assert opened.model(torch.rand(1, 3, 17, 17)).shape[-2:] == (17, 17)
    assert about["file_sha256"] == report.sha256
    assert torch.equal(opened.model(image), logits)
    with pytest.raises(UsageFault, match=r"model\.pt2 is an exported file; give the run that it was made from"):
        export_model(out, tmp_path / "again.pt2", Form("torch-export"))
    with pytest.raises(UsageFault, match="an exported file runs on the CPU, not on 'cuda'"):
        load(out, device="cuda")


@pytest.mark.slow
def test_aoti(leave_run: Callable[..., Path], tmp_path: Path) -> None:
    """A compiled package passes the gate at two sizes."""
    try:
        report = export_model(leave_run(), tmp_path / "model.pt2", Form("aoti", dynamic=True), images=2)
    except EnvironmentFault as error:
        pytest.skip(str(error))
    assert len(report.comparisons) == 2
    assert (tmp_path / "model.pt2.json").exists()


class Shift(torch.nn.Module):
    """Adds a hundredth."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits, shifted."""
        return logits + 0.01


@pytest.mark.usefixtures("onnx")
def test_a_file_that_says_something_else_is_not_kept(
    leave_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing lies under the final name; what lay there stays; the report tells what was found."""
    run, out = leave_run(), tmp_path / "model.onnx"
    out.write_text("old")
    write = exporting.export_onnx

    def write_wrongly(model: torch.nn.Module, *arguments: Any, **options: Any) -> None:
        write(torch.nn.Sequential(model, Shift()), *arguments, **options)

    monkeypatch.setattr(exporting, "export_onnx", write_wrongly)
    with pytest.raises(ParityError, match=r"model.onnx was not written: at 32x48 .* by up to 0.01, more") as caught:
        export_model(run, out, Form(), images=2, overwrite=True)
    assert caught.value.report.comparisons[0].max_difference == pytest.approx(0.01, rel=0.1)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", run.name]


def test_images_of_their_own_size(
    leave_run: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that saw images in their own sizes is compared at that of the first one; a fixed size is announced."""
    run = leave_run(image_size=None)
    report = export_model(run, tmp_path / "model.pt2", Form("torch-export"), images=1)
    assert [each.size for each in report.comparisons] == [(40, 56)]
    assert json.loads((tmp_path / "model.pt2.json").read_text())["image_size"] == [40, 56]
    assert "sees all of them resized to 40x56, which is that of the first validation image" in caplog.text


@pytest.mark.slow
def test_open_sizes_of_images_of_their_own_size(
    leave_run: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is resized where sizes are open."""
    export_model(leave_run(image_size=None), tmp_path / "model.pt2", Form("torch-export", dynamic=True), images=1)
    assert json.loads((tmp_path / "model.pt2.json").read_text())["image_size"] is None
    assert "resized to" not in caplog.text


def test_a_model_without_its_run_needs_a_recipe(leave_run: Callable[..., Path], tmp_path: Path) -> None:
    """The recipe of its data is taken in place of the run's."""
    run = leave_run()
    recipe = load_recipe(run / "recipe.json")
    alone = (run / "model").rename(tmp_path / "alone")
    with pytest.raises(UsageFault, match="name a recipe of its data with --data"):
        export_model(alone, tmp_path / "model.pt2", Form("torch-export"))
    export_model(alone, tmp_path / "model.pt2", Form("torch-export"), recipe=recipe, images=1)
    assert (tmp_path / "model.pt2").exists()


def test_no_images(tmp_path: Path) -> None:
    """A gate that compares nothing is none."""
    with pytest.raises(ValueError, match="images must be at least 1, got 0"):
        export_model(tmp_path, tmp_path / "model.onnx", Form(), images=0)


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
def test_int8_of_quickstart(tmp_path: Path) -> None:
    """The quickstart model in int8 loses less than a point of mean IoU on images that no range was taken from."""
    run = finetune(load_recipe("quickstart", ["train.workers=0"]), out=tmp_path / "run", device="cpu").folder
    report = export_model(run, tmp_path / "model.onnx", Form("onnx", "int8", dynamic=True))
    assert report.calibration is not None
    assert report.calibration.compared == 0
    for found in report.comparisons:
        assert found.miou_lost is not None
        assert found.miou_lost < 0.01
