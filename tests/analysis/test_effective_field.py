"""Effective receptive fields."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from segzoo.analysis.effective_field import effective_field, effective_side, picture
from segzoo.analysis.receptive_field import receptive_field


def layers() -> nn.Sequential:
    """Return ten 3x3 convolutions; an output sees 21 pixels a side."""
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(10)))


def test_it_lies_inside_the_theoretical_field() -> None:
    """Weights fade from the middle, and are zero where the theoretical field ends."""
    field = effective_field(layers(), in_channels=4, size=64)
    theoretical = receptive_field(layers(), in_channels=4).height.largest
    assert theoretical == 21
    outside = field.clone()
    outside[32 - 10 : 32 + 11, 32 - 10 : 32 + 11] = 0
    assert outside.sum() == 0
    assert field.max() == 1
    assert field[32, 32] > field[32, 22]
    assert 3 < effective_side(field) < theoretical


def test_one_convolution_by_hand() -> None:
    """Where the network is linear, the weights are the absolute ones of its kernel."""
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    field = effective_field(layer, in_channels=1, size=9, images=2)
    kernel = layer.weight.detach()[0, 0].abs()
    assert torch.allclose(field[3:6, 3:6], kernel / kernel.max())


def test_the_side_is_that_of_a_square() -> None:
    """Pixels that weigh more than 4.55 % of the largest are counted, wherever they lie."""
    field = torch.zeros(10, 10)
    field[0, :9] = 1
    field[5, :7] = 0.046
    field[6, :7] = 0.045
    assert effective_side(field) == 4


def test_the_seed_decides() -> None:
    """One seed gives one map, another another; the global generator is left alone."""
    model = nn.Sequential(layers(), nn.Tanh())
    state = torch.get_rng_state()
    first, second, other = (effective_field(model, in_channels=4, size=32, images=1, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_picture_is_the_map() -> None:
    """White is 1, black is 0, and between them stand square roots."""
    image = Image.open(io.BytesIO(picture(torch.tensor([[0.0, 0.25], [1.0, 0.0]]))))
    assert (image.format, image.mode) == ("PNG", "L")
    assert [image.getpixel(place) for place in ((0, 0), (1, 0), (0, 1))] == [0, 128, 255]


class Flat(nn.Module):
    """Has a gradient of zero."""

    def forward(self, image: Tensor) -> Tensor:
        """Return nothing of the image."""
        return image * 0


def test_refusals() -> None:
    """No images, and no gradient, are refused."""
    with pytest.raises(ValueError, match="images must be at least 1, got 0"):
        effective_field(layers(), in_channels=4, images=0)
    with pytest.raises(ValueError, match="the largest gradient is 0"):
        effective_field(Flat(), in_channels=4, size=8)
