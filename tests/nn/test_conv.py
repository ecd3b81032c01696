"""The convolution blocks keep their promises on sizes, layers and values."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segzoo.nn.conv import (
    ConvBN,
    ConvBNReLU,
    DepthwiseSeparableConv,
    InvertedResidual,
    check_channels,
    initialise_he,
)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "block",
    [
        lambda stride: ConvBN(3, 5, stride=stride),
        lambda stride: ConvBNReLU(3, 5, kernel_size=5, stride=stride),
        lambda stride: ConvBNReLU(3, 5, kernel_size=1, stride=stride),
        lambda stride: ConvBNReLU(3, 5, dilation=4, stride=stride),
        lambda stride: DepthwiseSeparableConv(3, 5, stride=stride),
        lambda stride: DepthwiseSeparableConv(3, 5, kernel_size=5, stride=stride),
        lambda stride: DepthwiseSeparableConv(3, 5, dilation=4, stride=stride, norm_between=False),
        lambda stride: InvertedResidual(3, 5, expansion=6, stride=stride),
    ],
)
def test_size_is_divided_by_the_stride_and_rounded_up(block: Callable[[int], nn.Module], stride: int) -> None:
    """Whatever the kernel and its dilation, ``(H, W)`` becomes ``(ceil(H/stride), ceil(W/stride))``."""
    features = block(stride)(torch.rand(2, 3, 11, 14))

    assert features.shape == (2, 5, math.ceil(11 / stride), math.ceil(14 / stride))


def test_only_the_relu_differs() -> None:
    """``ConvBNReLU`` is ``ConvBN`` and then a ReLU: the state dicts are interchangeable."""
    plain, rectified = ConvBN(3, 8), ConvBNReLU(3, 8)
    rectified.load_state_dict(plain.state_dict())
    image = torch.randn(2, 3, 6, 6)

    torch.testing.assert_close(rectified(image), plain(image).relu())


def test_conv_has_a_bias_only_when_asked() -> None:
    """Batch norm has a bias, so the convolution before it has none by default."""
    assert ConvBNReLU(3, 8)[0].bias is None
    assert ConvBNReLU(3, 8, bias=True)[0].bias is not None


def test_depthwise_separable_factorises_a_convolution() -> None:
    """With batch norm passing values on, the block is one dense convolution by the product of its two kernels."""
    block = DepthwiseSeparableConv(3, 4).eval()
    depthwise, pointwise = block[0][0].weight, block[1][0].weight
    dense = pointwise * depthwise.transpose(0, 1)
    image = torch.randn(1, 3, 7, 7)

    expected = nn.functional.conv2d(image, dense, padding=1).relu()

    torch.testing.assert_close(block(image), expected, rtol=1e-4, atol=1e-4)


def test_norm_between_the_two_is_optional() -> None:
    """Without it, two convolutions without bias and the last batch norm remain."""
    without = DepthwiseSeparableConv(16, 24, norm_between=False)

    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in DepthwiseSeparableConv(16, 24).modules()) == 2
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in without.modules()) == 1
    assert sum(parameter.numel() for parameter in without.parameters()) == 9 * 16 + 16 * 24 + 2 * 24


def test_depthwise_separable_needs_a_fraction_of_the_multiplications() -> None:
    """256 filters of 5x5 on 3 channels at 8x8 places: 1,228,800 multiplications, or 4,800 + 49,152 = 53,952."""
    multiplications = []
    with torch.device("meta"):
        for block in (ConvBNReLU(3, 256, kernel_size=5), DepthwiseSeparableConv(3, 256, kernel_size=5)):
            with FlopCounterMode(display=False) as counter:
                block(torch.empty(1, 3, 8, 8))
            multiplications.append(counter.get_total_flops() // 2)

    assert multiplications == [1_228_800, 53_952]


@pytest.mark.parametrize(("out_channels", "stride", "adds"), [(6, 1, True), (6, 2, False), (8, 1, False)])
def test_inverted_residual_adds_its_input_where_shapes_agree(out_channels: int, stride: int, adds: bool) -> None:
    """With its last batch norm at zero the block returns its input, or zeros where the input does not fit."""
    block = InvertedResidual(6, out_channels, expansion=2, stride=stride)
    nn.init.zeros_(block.layers[-1][-1].weight)
    features = torch.randn(2, 6, 4, 4)

    result = block(features)

    assert torch.equal(result, features if adds else torch.zeros_like(result))


def test_initialise_he_gives_the_variance_of_the_paper() -> None:
    """Weights have variance 2 / fan_in and biases are zero."""
    conv = nn.Conv2d(64, 128, 3)

    initialise_he(nn.Sequential(conv))

    assert conv.weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.02)
    assert not conv.bias.any()


@pytest.mark.parametrize(
    ("in_channels", "num_classes", "message"),
    [
        (0, 2, "in_channels must be at least 1, got 0"),
        (3, 0, "num_classes must be at least 1, got 0"),
        (3, -4, "num_classes must be at least 1, got -4"),
    ],
)
def test_check_channels_names_the_value(in_channels: int, num_classes: int, message: str) -> None:
    """A network without input or output is refused with the value that is wrong."""
    with pytest.raises(ValueError, match=message):
        check_channels(in_channels=in_channels, num_classes=num_classes)
