"""The model keeps segzoo's contract, and has the size that its README states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import segzoo
from segzoo import ModelSpec
from segzoo.testing import parametrize_with_checks

from acme_seg.specs import UNET_LITE


@parametrize_with_checks([UNET_LITE])
def test_contract(spec: ModelSpec, check: Callable[[ModelSpec], None]) -> None:
    """Every check of `segzoo check acme-seg/unet_lite` passes."""
    check(spec)


@pytest.mark.parametrize(("width", "depth", "parameters"), [(16, 3, 488_341), (8, 2, 30_101), (32, 1, 103_445)])
def test_parameters(width: int, depth: int, parameters: int) -> None:
    """The network has as many parameters as its figure says, found by its name as users find it."""
    model = segzoo.create_model("acme-seg/unet_lite", num_classes=21, width=width, depth=depth)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
