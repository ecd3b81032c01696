"""Every built-in model keeps the contract."""

from __future__ import annotations

import importlib.util

import pytest

from segzoo.catalog import BUILTIN_SPECS
from segzoo.export.onnx import PACKAGES
from segzoo.params import validate_params
from segzoo.spec import ModelSpec
from segzoo.testing import Report, check_model

QUICK_CHECKS = 9
CHECKS = 19

HAS_ONNX = all(importlib.util.find_spec(package) for package in PACKAGES)


def _is_variant(spec: ModelSpec) -> bool:
    """Tell the presets whose architecture has another preset with a smaller encoder."""
    return spec.name.endswith(("_resnet34", "_mobilenet_v2")) and not spec.name.startswith("unet_")


by_name = pytest.mark.parametrize("spec", BUILTIN_SPECS, ids=lambda spec: spec.name)


@pytest.mark.parametrize(
    "spec",
    [pytest.param(spec, id=spec.name, marks=pytest.mark.slow if _is_variant(spec) else ()) for spec in BUILTIN_SPECS],
)
def test_quick_checks(spec: ModelSpec) -> None:
    """What can be said without computing: the spec, the parts, the shapes. No check is left out."""
    report = check_model(spec, quick=True)
    report.raise_if_failed()
    assert (report.ran, report.total) == (QUICK_CHECKS, QUICK_CHECKS)


COMPUTED_FROM = ("builder", "input", "aux", "expected_failures", "fixed_export_dims")
"""What the checks that compute take from a spec, beside its parameters."""

REPORTS: dict[str, Report] = {}
"""The outcome of every check by what it is computed from."""


def computed_from(spec: ModelSpec) -> str:
    """Return all that decides on a model's network and what is asked of it."""
    params = validate_params(spec, {})
    return spec.refined(params).model_dump_json(include=set(COMPUTED_FROM)) + params.model_dump_json()


@pytest.mark.slow
@by_name
def test_every_check(spec: ModelSpec) -> None:
    """The whole contract, computed; the export is left out where the extra ``onnx`` is missing, and nothing else.

    Several names stand for one network, such as ``smp_unet`` and ``unet_resnet34``; it is computed once.
    """
    key = computed_from(spec)
    if key not in REPORTS:
        REPORTS[key] = check_model(spec)
    report = REPORTS[key]
    report.raise_if_failed()
    assert (report.ran, report.total) == (CHECKS if HAS_ONNX else CHECKS - 1, CHECKS)
