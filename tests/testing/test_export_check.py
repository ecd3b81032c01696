"""The check of the export finds what exports wrongly, crashes or hangs."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
import time
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segzoo.export.onnx import PACKAGES
from segzoo.spec import InputSpec, ModelSpec
from segzoo.testing import CheckRow, check_model, export_check

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in PACKAGES), reason="the extra onnx is not installed"
)


def outcome(spec: ModelSpec) -> CheckRow:
    """Run the one check."""
    (row,) = check_model(spec, only=["onnx_export"]).rows
    return row


@needs_onnx
def test_a_good_network_passes(toys: Any) -> None:
    """Its export agrees at another size, too, and the shared network is left in evaluation mode."""
    assert outcome(toys.spec()) == CheckRow("onnx_export", "passed", "")


@needs_onnx
def test_sizes_follow_the_smallest(toys: Any) -> None:
    """A network that takes only large images is exported with one."""

    class Large(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            torch._check(image.shape[2] >= 128)
            logits: Tensor = super().forward(image)
            return logits

    assert outcome(toys.spec(Large, input=InputSpec(min_size=128))).status == "passed"


@needs_onnx
def test_export_that_fails(toys: Any) -> None:
    """The reason is what the network does, not what the exporter makes of it."""

    class Looking(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = super().forward(image)
            return logits if image.is_meta or image.mean().item() > 0 else -logits

    row = outcome(toys.spec(Looking))
    assert row.status == "failed"
    assert row.detail.startswith("the model cannot be exported to ONNX: GuardOnDataDependentSymNode: ")


@needs_onnx
def test_export_that_is_right_at_one_size_only(toys: Any) -> None:
    """Pooling to a grid is exported for one size without a word; fixing the sizes in the spec is the way out."""

    class Pooling(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = super().forward(image)
            return logits + F.interpolate(F.adaptive_avg_pool2d(logits, 2), size=image.shape[-2:])

    spec = toys.spec(Pooling)
    assert re.fullmatch(
        r"onnxruntime's logits for 1 images of 97x131 pixels differ from torch's by [\d.]+ of the largest, more than "
        "0.001; the export was made for 64x96",
        outcome(spec).detail,
    )
    fixed = spec.model_copy(update={"fixed_export_dims": {"height": "pools to a grid", "width": "pools to a grid"}})
    assert outcome(fixed) == CheckRow("onnx_export", "passed", "")


@needs_onnx
def test_export_that_crashes(toys: Any) -> None:
    """A crash of native code is a fault of this check; the kit goes on."""

    class Crashing(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            if torch.compiler.is_exporting():
                os.kill(os.getpid(), signal.SIGSEGV)
            logits: Tensor = super().forward(image)
            return logits

    assert outcome(toys.spec(Crashing)).detail == "the process died of the signal SIGSEGV"


@needs_onnx
def test_export_that_hangs(toys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export without end is given up."""

    class Hanging(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            time.sleep(600)
            logits: Tensor = super().forward(image)
            return logits

    monkeypatch.setattr(export_check, "TIMEOUT_S", 1.0)
    assert outcome(toys.spec(Hanging)).detail == "no end after 1 seconds"


@pytest.mark.parametrize("package", PACKAGES)
def test_without_the_extra_it_is_skipped(toys: Any, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """A machine without the extra runs every other check, and is told how to run this one."""
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    row = outcome(toys.spec())
    assert row.status == "skipped"
    assert row.detail.endswith("install it with: pip install 'segzoo[onnx]'")
