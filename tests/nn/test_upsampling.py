"""Each upsampling block doubles the size in its own way, and trimming fits the result to a skip connection."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim

from segzoo.nn.upsampling import BilinearUpsampling, PixelShuffleUpsampling, TransposedUpsampling, trim


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 6)])
@pytest.mark.parametrize("block", [TransposedUpsampling, BilinearUpsampling, PixelShuffleUpsampling])
def test_doubles_the_size(block: Callable[[int, int], nn.Module], size: tuple[int, int]) -> None:
    """Whatever the size, height and width are doubled and the channels are those asked for."""
    assert block(6, 4)(torch.rand(2, 6, *size)).shape == (2, 4, 2 * size[0], 2 * size[1])


def test_transposed_spreads_each_pixel_over_its_own_window() -> None:
    """Output ``(2i + a, 2j + b)`` is pixel ``(i, j)`` through the weights of tap ``(a, b)``, and nothing else."""
    block = TransposedUpsampling(3, 2)
    features = torch.randn(2, 3, 4, 5)
    expected = torch.zeros(2, 2, 8, 10)
    for a in range(2):
        for b in range(2):
            expected[:, :, a::2, b::2] = torch.einsum("nchw,co->nohw", features, block.weight[:, :, a, b])

    torch.testing.assert_close(block(features), expected)


def test_transposed_starts_with_the_variance_of_he() -> None:
    """Each output is a sum over the input's channels, so weights have variance 2 / in_channels and biases are zero."""
    block = TransposedUpsampling(256, 128)

    assert block.weight.var().item() == pytest.approx(2 / 256, rel=0.02)
    assert not block.get_parameter("bias").any()


def test_bilinear_interpolates_before_it_refines() -> None:
    """With a convolution that passes values on, the block is torch's interpolation."""
    block = BilinearUpsampling(3, 3)
    nn.init.dirac_(block[1].weight)
    nn.init.zeros_(block[1].bias)
    features = torch.randn(1, 3, 4, 5)

    expected = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)

    torch.testing.assert_close(block(features), expected)


def test_pixel_shuffle_makes_four_channels_one_window() -> None:
    """Channel ``4c + 2a + b`` of the convolution is pixel ``(2i + a, 2j + b)`` of channel ``c``."""
    block = PixelShuffleUpsampling(3, 2)
    features = torch.randn(2, 3, 4, 5)
    convolved = block[0](features)

    result = block(features)

    for c, a, b in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 1, 1)]:
        assert torch.equal(result[:, c, a::2, b::2], convolved[:, 4 * c + 2 * a + b])


@pytest.mark.parametrize("size", [(6, 8), (5, 8), (5, 7)])
def test_trim_cuts_at_the_bottom_and_the_right(size: tuple[int, int]) -> None:
    """What stays is the top left, untouched; a map of the size wanted stays as it is."""
    features = torch.randn(1, 2, 6, 8)

    assert torch.equal(trim(features, size), features[:, :, : size[0], : size[1]])


class Trimmed(nn.Module):
    """Halve, rounding up, double and trim: what a level of U-Net does."""

    def forward(self, image: Tensor) -> Tensor:
        """Return features of the image's size."""
        halved = F.max_pool2d(image, 2, ceil_mode=True)
        doubled = F.interpolate(halved, scale_factor=2.0, mode="nearest")
        return F.conv2d(trim(doubled, (image.shape[-2], image.shape[-1])), torch.ones(3, 3, 1, 1))


@pytest.mark.parametrize("traced", [(8, 12), (9, 13)])
def test_trim_exports_for_every_size(traced: tuple[int, int]) -> None:
    """A graph exported at a size that is cut serves sizes that are not, and the other way round."""
    sizes = ({2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    exported = torch.export.export(Trimmed(), (torch.rand(1, 3, *traced),), dynamic_shapes=sizes).module()

    for size in [(8, 12), (9, 13), (10, 7)]:
        image = torch.rand(1, 3, *size)
        torch.testing.assert_close(exported(image), Trimmed()(image))
