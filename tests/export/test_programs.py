"""Torch's own formats say what the model says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._inductor import config as inductor

from segzoo.errors import EnvironmentFault, SegzooError, UnknownName
from segzoo.export.programs import (
    compile_program,
    export_program,
    require_compiler,
    save_program,
    smallest_side,
)
from segzoo.inference.exported import load_compiled, load_program


class Network(nn.Module):
    """Halves the image and enlarges the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Dropout(0.5), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits of the image's size."""
        return F.interpolate(self.head(self.encoder(image)), size=image.shape[-2:], mode="bilinear")


class Pooled(Network):
    """Takes eight pixels, of which it makes one; a program of it takes no single one."""

    def forward(self, image: Tensor) -> Tensor:
        """Return logits of the image's size."""
        return F.interpolate(super().forward(F.avg_pool2d(image, 8)), size=image.shape[-2:], mode="bilinear")


class Undecided(Network):
    """Looks at values, which no program can hold."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of bright images alone."""
        return super().forward(image) if image.mean().item() > 0.5 else super().forward(-image)


def test_open_sizes(tmp_path: Path) -> None:
    """A saved program scores other batches and sizes in evaluation mode, and the model is left in training mode."""
    model = Network().train()
    save_program(export_program(model, in_channels=3, size=(16, 24)), tmp_path / "m.pt2")
    assert all(module.training for module in model.modules())
    network = load_program(tmp_path / "m.pt2")
    model.eval()
    for shape in [(2, 3, 16, 24), (1, 3, 17, 9), (3, 3, 40, 40)]:
        image = torch.rand(shape)
        torch.testing.assert_close(network(image), model(image))


def test_fixed_sizes(tmp_path: Path) -> None:
    """What is not open is what the program was made for."""
    save_program(export_program(Network(), in_channels=3, size=(16, 24), dynamic=()), tmp_path / "m.pt2")
    network = load_program(tmp_path / "m.pt2")
    assert network(torch.rand(1, 3, 16, 24)).shape == (1, 2, 16, 24)
    with pytest.raises(SegzooError, match=r"torch cannot run m.pt2 on 1x3x32x24: .*; --format onnx has no such limits"):
        network(torch.rand(1, 3, 32, 24))


def test_the_smallest_size_is_found() -> None:
    """What a program refuses although the model takes it is below the smallest size; what is fixed is its own."""
    program = export_program(Pooled(), in_channels=3, size=(64, 96))
    assert smallest_side(program, in_channels=3, size=(64, 96), least=8) == 24
    with pytest.raises(AssertionError, match="Guard failed"):
        program.module()(torch.rand(1, 3, 23, 96))
    assert program.module()(torch.rand(1, 3, 24, 24)).shape == (1, 2, 24, 24)
    fixed = export_program(Pooled(), in_channels=3, size=(64, 96), dynamic=("width",))
    assert smallest_side(fixed, in_channels=3, size=(64, 96), least=8) == 64


def test_unknown_dimension() -> None:
    """A typo gets a suggestion."""
    with pytest.raises(UnknownName, match=r"no dimension named 'hight'. Did you mean 'height'\?"):
        export_program(Network(), in_channels=3, size=(16, 24), dynamic=["hight"])


def test_models_that_are_no_program() -> None:
    """A model that looks at values is told with torch's first reason."""
    with pytest.raises(SegzooError, match="the model cannot be exported: "):
        export_program(Undecided(), in_channels=3, size=(16, 24))


@inductor.patch({"cpp.cxx": ("no-such-compiler",)})
def test_missing_compiler(tmp_path: Path) -> None:
    """Without a C++ compiler the way out is told, with exit code 3, and nothing is compiled."""
    with pytest.raises(EnvironmentFault, match=r"needs a C\+\+ compiler.*install g\+\+.*onnx and") as caught:
        require_compiler()
    assert caught.value.exit_code == 3
    program = export_program(Network(), in_channels=3, size=(16, 24))
    with pytest.raises(EnvironmentFault):
        compile_program(program, tmp_path / "m.pt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_compiled(tmp_path: Path) -> None:
    """A compiled package scores other batches and sizes."""
    try:
        require_compiler()
    except EnvironmentFault as error:
        pytest.skip(str(error))
    model = Network().eval()
    compile_program(export_program(model, in_channels=3, size=(16, 24)), tmp_path / "m.pt2")
    network = load_compiled(tmp_path / "m.pt2")
    for shape in [(2, 3, 16, 24), (1, 3, 17, 9)]:
        image = torch.rand(shape)
        torch.testing.assert_close(network(image), model(image), rtol=1e-4, atol=1e-5)
