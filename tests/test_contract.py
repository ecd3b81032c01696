"""Every built-in model keeps the contract."""

from __future__ import annotations

import importlib.util

import pytest

from segzoo.catalog import BUILTIN_SPECS
from segzoo.export.onnx import PACKAGES
from segzoo.spec import ModelSpec
from segzoo.testing import check_model

QUICK_CHECKS = 9
CHECKS = 19

HAS_ONNX = all(importlib.util.find_spec(package) for package in PACKAGES)

by_name = pytest.mark.parametrize("spec", BUILTIN_SPECS, ids=lambda spec: spec.name)


@by_name
def test_quick_checks(spec: ModelSpec) -> None:
    """What can be said without computing: the spec, the parts, the shapes. No check is left out."""
    report = check_model(spec, quick=True)
    report.raise_if_failed()
    assert (report.ran, report.total) == (QUICK_CHECKS, QUICK_CHECKS)


@pytest.mark.slow
@by_name
def test_every_check(spec: ModelSpec) -> None:
    """The whole contract, computed; the export is left out where the extra ``onnx`` is missing, and nothing else."""
    report = check_model(spec)
    report.raise_if_failed()
    assert (report.ran, report.total) == (CHECKS if HAS_ONNX else CHECKS - 1, CHECKS)
