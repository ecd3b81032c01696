"""Max-unpooling is exact, and pooling over pyramids sees the whole image."""

import re

import pytest
import torch

from segzoo.nn import pooling
from segzoo.nn.pooling import PyramidPooling, SpatialPyramidPooling, average_over_grid, max_pool, max_unpool


@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 6), (5, 7), (45, 11)])
def test_unpooling_puts_every_maximum_back_and_nothing_else(height: int, width: int) -> None:
    """A slow loop over windows finds each value at its old place, and zeros elsewhere, odd borders included."""
    features = torch.randn(2, 3, height, width)
    expected = torch.zeros_like(features)
    for batch in range(2):
        for channel in range(3):
            for row in range(0, height - 1, 2):
                for column in range(0, width - 1, 2):
                    window = features[batch, channel, row : row + 2, column : column + 2]
                    place = window.flatten().argmax().item()
                    expected[batch, channel, row + place // 2, column + place % 2] = window.max()

    pooled, maxima = max_pool(features)

    assert pooled.shape == (2, 3, height // 2, width // 2)
    assert maxima.size == (height, width)
    assert torch.equal(max_unpool(pooled, maxima), expected)


def test_unpooling_agrees_with_torch() -> None:
    """Values and gradients equal those of ``torch.nn.functional.max_unpool2d``."""
    values = torch.randn(2, 3, 4, 5, requires_grad=True)
    _, maxima = max_pool(torch.randn(2, 3, 9, 11))
    weight = torch.randn(2, 3, 9, 11)

    ours = max_unpool(values, maxima)
    reference = torch.nn.functional.max_unpool2d(values, maxima.indices, 2, 2, output_size=[9, 11])

    assert torch.equal(ours, reference)
    assert torch.equal(
        torch.autograd.grad((ours * weight).sum(), values)[0],
        torch.autograd.grad((reference * weight).sum(), values)[0],
    )


def test_unpooling_runs_under_deterministic_algorithms() -> None:
    """A run that asks torch for determinism can train a network that unpools."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        features = torch.randn(1, 2, 6, 6, requires_grad=True)
        max_unpool(*max_pool(features)).sum().backward()
    finally:
        torch.use_deterministic_algorithms(before)

    assert features.grad is not None


@pytest.mark.parametrize("size", [(4, 4), (13, 13), (10, 27)])
def test_spatial_pyramid_pooling_gives_one_length(size: tuple[int, int]) -> None:
    """256 channels over grids of 4x4, 2x2 and 1x1 cells are (16 + 4 + 1) * 256 = 5376 values at every size."""
    assert SpatialPyramidPooling()(torch.rand(2, 256, *size)).shape == (2, 5376)


def test_spatial_pyramid_pooling_takes_the_maximum_of_each_cell() -> None:
    """A slow loop over cells, which overlap by a pixel where the size is no multiple, finds the same values."""
    features = torch.randn(2, 3, 7, 10)
    expected = []
    for side in (4, 2, 1):
        for channel in range(3):
            for row in range(side):
                for column in range(side):
                    top, bottom = row * 7 // side, -(-(row + 1) * 7 // side)
                    left, right = column * 10 // side, -(-(column + 1) * 10 // side)
                    expected.append(features[:, channel, top:bottom, left:right].amax(dim=(1, 2)))

    assert torch.equal(SpatialPyramidPooling(bins=(4, 2, 1))(features), torch.stack(expected, dim=1))


@pytest.mark.parametrize("bins", [(), (4, 0)])
def test_spatial_pyramid_pooling_refuses_empty_grids(bins: tuple[int, ...]) -> None:
    """The message holds the value."""
    with pytest.raises(ValueError, match=re.escape(f"at least 1, got {bins}")):
        SpatialPyramidPooling(bins=bins)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (13, 7)])
def test_pyramid_pooling_keeps_the_size(size: tuple[int, int]) -> None:
    """Maps smaller than the finest grid work, too."""
    pool = PyramidPooling(16, 24)

    assert pool(torch.rand(2, 16, *size)).shape == (2, 24, *size)


def test_pyramid_pooling_reaches_every_pixel() -> None:
    """Each output depends on each input, because one grid has a single cell."""
    pool = PyramidPooling(8, 8).eval()
    for parameter in pool.parameters():  # positive, so that no ReLU shuts a path off
        parameter.data.abs_()
    features = torch.rand(1, 8, 6, 6, requires_grad=True)

    pool(features)[0, :, 0, 0].sum().backward()

    assert (features.grad != 0).any(dim=1).all()


def test_pyramid_pooling_refuses_to_train_on_one_image() -> None:
    """A batch of one would leave batch norm one value per channel; the message says so, and evaluation works."""
    pool = PyramidPooling(8, 8)

    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        pool(torch.rand(1, 8, 6, 6))
    assert pool.eval()(torch.rand(1, 8, 6, 6)).shape == (1, 8, 6, 6)


class Grid(torch.nn.Module):
    """Averages over a grid of 6x6 cells."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the averages."""
        return average_over_grid(features, 6)


def test_grid_is_exported_for_every_size() -> None:
    """A graph made at one size averages as ``adaptive_avg_pool2d`` does at others, smaller than the grid too."""
    open_size = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(Grid(), (torch.rand(1, 2, 12, 18),), dynamic_shapes=(open_size,))

    for height, width in [(12, 18), (13, 7), (4, 31)]:
        features = torch.rand(1, 2, height, width)
        expected = torch.nn.functional.adaptive_avg_pool2d(features, 6)
        torch.testing.assert_close(program.module()(features), expected)


def test_grid_has_a_deterministic_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way for deterministic algorithms on CUDA has the averages and the gradient of ``adaptive_avg_pool2d``."""
    torch.use_deterministic_algorithms(True)
    try:
        assert not pooling._is_deterministic_on_cuda(torch.rand(1, 2, 4, 4)), "on a CPU torch's own is deterministic"
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(pooling, "_is_deterministic_on_cuda", lambda _: True)
    features = torch.rand(2, 3, 13, 7, requires_grad=True)
    weights = torch.rand(2, 3, 6, 6)

    averages = average_over_grid(features, 6)

    expected = torch.nn.functional.adaptive_avg_pool2d(features, 6)
    torch.testing.assert_close(averages, expected)
    slopes = [torch.autograd.grad((each * weights).sum(), features)[0] for each in (averages, expected)]
    torch.testing.assert_close(*slopes)
