"""int8 is close to what it was made from, smaller, and timed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from segzoo.errors import SegzooError
from segzoo.export.onnx import export_onnx
from segzoo.export.quantise import ROUNDS, measure_speed, quantise
from segzoo.inference.exported import OnnxNetwork

pytestmark = pytest.mark.usefixtures("onnx")


@pytest.fixture
def fp32(tmp_path: Path) -> Path:
    """Return a network of two layers in float32."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval()
    export_onnx(model, tmp_path / "fp32.onnx", in_channels=3, size=(16, 16))
    return tmp_path / "fp32.onnx"


def test_int8(fp32: Path, tmp_path: Path) -> None:
    """Logits are within a few percent at other sizes and batches too, the file is much smaller, and nothing is left."""
    path = tmp_path / "int8.onnx"
    quantise(fp32, path, [torch.rand(1, 3, 16, 16) for _ in range(4)])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fp32.onnx", "int8.onnx"]
    assert path.stat().st_size < 0.5 * fp32.stat().st_size
    image = torch.rand(2, 3, 20, 24)
    expected = OnnxNetwork(fp32)(image)
    difference = (OnnxNetwork(path)(image) - expected).abs().max()
    assert 0 < difference < 0.1 * expected.abs().max()


def test_failure_is_told(fp32: Path, tmp_path: Path) -> None:
    """What onnxruntime says is passed on, and no part of a file is left."""
    with pytest.raises(SegzooError, match="the model cannot be quantised: "):
        quantise(fp32, tmp_path / "int8.onnx", [torch.rand(1, 4, 16, 16)])
    assert [file.name for file in tmp_path.iterdir()] == ["fp32.onnx"]


def test_speed(fp32: Path) -> None:
    """Both are timed on the same image, and the quotient is theirs."""
    speed = measure_speed(OnnxNetwork(fp32), OnnxNetwork(fp32), torch.rand(1, 3, 20, 24))
    assert (speed.size, speed.threads, speed.rounds) == ((20, 24), 1, ROUNDS)
    assert speed.fp32_ms > 0
    assert speed.int8_ms > 0
    assert speed.speed_up == pytest.approx(speed.fp32_ms / speed.int8_ms, rel=0.02, abs=0.01)
