"""ASPP has the branches of its papers, and its image pooling refuses what batch norm cannot take."""

import pytest
import torch
from torch import nn
from torchvision.models.segmentation import deeplabv3

from segzoo.nn.aspp import ASPP, ImagePooling


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def test_agrees_with_torchvision() -> None:
    """With the same weights and statistics, the output is that of another implementation."""
    ours, reference = ASPP(12, 8, atrous_rates=(2, 3, 5)).eval(), deeplabv3.ASPP(12, [2, 3, 5], 8).eval()
    for tensor in reference.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    names, values = ours.state_dict().keys(), reference.state_dict().values()
    ours.load_state_dict(dict(zip(names, values, strict=True)))
    features = torch.randn(2, 12, 9, 11)

    torch.testing.assert_close(ours(features), reference(features))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 17)])
@pytest.mark.parametrize("separable", [False, True])
def test_keeps_the_size(separable: bool, size: tuple[int, int]) -> None:
    """Maps smaller than the rates work, too."""
    assert ASPP(6, 4, separable=separable)(torch.rand(2, 6, *size)).shape == (2, 4, *size)


def test_separable_convolutions_save_parameters() -> None:
    """Each of the three dense 3x3 kernels becomes nine weights for each channel and one 1x1 kernel."""
    with torch.device("meta"):
        plain, separable = ASPP(512, 256), ASPP(512, 256, separable=True)

    # 1x1, three 3x3 and the pooled branch on 512 channels, the projection of five times 256, six batch norms.
    assert count(plain) == (1 + 3 * 9 + 1) * 512 * 256 + 5 * 256 * 256 + 6 * 2 * 256
    assert count(plain) - count(separable) == 3 * (9 * 512 * 256 - (9 * 512 + 512 * 256))


def test_rates_are_the_distances_of_the_taps() -> None:
    """A branch at rate ``r`` sees the pixel itself and those ``r`` away, no others."""
    for rate, branch in zip((6, 12, 18), ASPP(2, 2, atrous_rates=(6, 12, 18)).atrous, strict=True):
        features = torch.rand(1, 2, 41, 41, requires_grad=True)
        branch[0](features)[0, :, 20, 20].sum().backward()

        rows, columns = (features.grad.abs().sum(dim=(0, 1)) > 0).nonzero(as_tuple=True)

        assert set(rows.tolist()) == set(columns.tolist()) == {20 - rate, 20, 20 + rate}


def test_image_pooling_is_the_average_everywhere() -> None:
    """Every pixel gets the same values, which are those of the mean pixel."""
    pool = ImagePooling(3, 5).eval()
    features = torch.randn(2, 3, 7, 4)

    result = pool(features)

    torch.testing.assert_close(result, pool.project(features.mean(dim=(2, 3), keepdim=True)).expand(2, 5, 7, 4))


def test_refuses_to_train_on_one_image() -> None:
    """The message names the layer and the way out; evaluation of one image works."""
    block = ASPP(4, 4)

    with pytest.raises(ValueError, match="image pooling of ASPP trains on batches of at least 2 images, got 1"):
        block(torch.rand(1, 4, 8, 8))
    assert block.eval()(torch.rand(1, 4, 8, 8)).shape == (1, 4, 8, 8)


def test_dropout_acts_on_the_output_in_training_only() -> None:
    """About half of the values are zeros at a rate of 0.5 where none are without, and evaluation drops none."""
    block = ASPP(8, 64, dropout=0.5)
    nn.init.constant_(block.project[1].bias, 10.0)  # above every ReLU's threshold
    features = torch.randn(4, 8, 16, 16)

    assert (block(features) == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert not (block.eval()(features) == 0).any()
