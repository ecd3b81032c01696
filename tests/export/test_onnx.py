"""An ONNX file says what torch says, and is there whole or not at all."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.errors import MissingDistribution, SegzooError, UnknownName
from segzoo.export.onnx import PACKAGES, export_onnx, require_onnx, run_onnx
from segzoo.transfer import freeze

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in PACKAGES), reason="the extra onnx is not installed"
)


class Network(nn.Module):
    """Halves the image and enlarges the scores."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(in_channels, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(4, 2, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits of the image's size."""
        return F.interpolate(self.head(self.encoder(image)), size=image.shape[-2:], mode="bilinear")


def agree(model: nn.Module, path: Path, image: Tensor) -> None:
    """Compare onnxruntime with torch in evaluation mode."""
    with torch.no_grad():
        expected = model.eval()(image)
    torch.testing.assert_close(run_onnx(path, image), expected, rtol=1e-4, atol=1e-5)


@needs_onnx
def test_open_dimensions(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By default batch and size are open; nothing is printed, warned of or left beside the file."""
    model = Network(in_channels=4).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(model, tmp_path / "model.onnx", in_channels=4, size=(16, 24))
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert capfd.readouterr().out == ""
    for shape in [(2, 4, 16, 24), (1, 4, 17, 9), (3, 4, 40, 40)]:
        agree(model, tmp_path / "model.onnx", torch.rand(shape))


@needs_onnx
@pytest.mark.parametrize(
    ("dynamic", "good", "bad"),
    [
        ((), (1, 3, 16, 24), (2, 3, 16, 24)),
        (("batch",), (3, 3, 16, 24), (1, 3, 16, 32)),
        (("height", "width"), (1, 3, 31, 17), (2, 3, 16, 24)),
    ],
)
def test_fixed_dimensions(
    tmp_path: Path, dynamic: tuple[str, ...], good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    """What is not open is what the export was made for, and onnxruntime's refusal is told."""
    model, path = Network(), tmp_path / "model.onnx"
    export_onnx(model, path, in_channels=3, size=(16, 24), dynamic=dynamic)
    agree(model, path, torch.rand(good))
    with pytest.raises(SegzooError, match=f"onnxruntime cannot run model.onnx on {'x'.join(map(str, bad))}: "):
        run_onnx(path, torch.rand(bad))


@needs_onnx
def test_model_is_left_as_it_was(tmp_path: Path) -> None:
    """Exported is the evaluation mode; afterwards each layer is in the mode it was in, a frozen one too."""
    model = Network()
    freeze(model, "encoder")
    model.train()
    model.head[0].eval()
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_onnx(model, tmp_path / "model.onnx", in_channels=3, size=(16, 16))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    agree(model, tmp_path / "model.onnx", torch.rand(1, 3, 16, 16))


class Broken(Network):
    """Looks at values, which no graph can hold."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of bright images alone."""
        return super().forward(image) if image.mean().item() > 0.5 else super().forward(-image)


class Rigid(Network):
    """Knows one height."""

    def forward(self, image: Tensor) -> Tensor:
        """Return logits of an image of 16 lines."""
        return super().forward(image + torch.arange(16.0).view(16, 1))


@needs_onnx
@pytest.mark.parametrize(("model", "message"), [(Broken(), "to ONNX: Guard"), (Rigid(), "a static shape of 16")])
def test_failure_leaves_the_old_file(tmp_path: Path, model: nn.Module, message: str) -> None:
    """A model that cannot be exported as asked is told, and the file that was there stays."""
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(SegzooError, match=f"(?s)the model cannot be exported .*{message}"):
        export_onnx(model, path, in_channels=3, size=(16, 24))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@needs_onnx
def test_models_too_large_for_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch would put the weights into a second file without a word; that is refused, and neither file is left."""
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 0)
    with pytest.raises(SegzooError, match=r"model.onnx was not written: the model is larger than one ONNX file can be"):
        export_onnx(Network(), tmp_path / "model.onnx", in_channels=3, size=(16, 24))
    assert list(tmp_path.iterdir()) == []


def test_unknown_dimension(tmp_path: Path) -> None:
    """A typo gets a suggestion."""
    with pytest.raises(UnknownName, match=r"no dimension named 'hight'. Did you mean 'height'\?"):
        export_onnx(Network(), tmp_path / "model.onnx", in_channels=3, size=(16, 24), dynamic=["hight"])


@pytest.mark.parametrize("package", PACKAGES)
def test_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Without the extra, the way to install it is told, with exit code 3."""
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    with pytest.raises(
        MissingDistribution, match=rf"needs the package '{package}'.*pip install 'segzoo\[onnx\]'"
    ) as caught:
        require_onnx()
    assert caught.value.exit_code == 3
    with pytest.raises(MissingDistribution):
        export_onnx(Network(), tmp_path / "model.onnx", in_channels=3, size=(16, 24))


def test_running_needs_onnxruntime_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs a file needs no exporter."""
    export_onnx(Network(), tmp_path / "model.onnx", in_channels=3, size=(16, 24))
    for name in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    run_onnx(tmp_path / "model.onnx", torch.rand(1, 3, 16, 24))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDistribution, match="needs the package 'onnxruntime'"):
        run_onnx(tmp_path / "model.onnx", torch.rand(1, 3, 16, 24))
