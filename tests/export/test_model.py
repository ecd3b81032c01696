"""An export is there when it says what its model says, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segzoo.catalog import BUILTIN_SPECS
from segzoo.export.form import Form
from segzoo.export.model import export_model
from segzoo.export.report import ExportReport
from segzoo.registry import validate_params
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
@pytest.mark.parametrize("name", ["fast_scnn", "segnet_pets_separable", "unet_mobilenet_v2"])
def test_models_export_with_open_sizes(leave_run: Callable[..., Path], tmp_path: Path, name: str) -> None:
    """Pyramid pooling, unpooling and smp's decoders agree with torch to 1e-3 at sizes the export never saw."""
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
