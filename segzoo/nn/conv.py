"""Convolution blocks, their initialisation, and the check of a network's two outer channel counts."""

from __future__ import annotations

from torch import Tensor, nn


class ConvBN(nn.Sequential):
    """A convolution that keeps the size, divided by ``stride`` and rounded up, and a batch norm.

    Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, ceil(H/stride), ceil(W/stride))``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel in pixels, an odd number.
        stride: Step of the convolution in pixels.
        dilation: Distance of the kernel's taps in pixels.
        groups: Groups of channels; ``in_channels`` of them make a depthwise convolution.
        bias: Whether the convolution has a bias, although the batch norm has one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        padding = dilation * (kernel_size // 2)
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        super().__init__(conv, nn.BatchNorm2d(out_channels))


class ConvBNReLU(ConvBN):
    """A :class:`ConvBN` and a ReLU; it takes the same arguments."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.append(nn.ReLU(inplace=True))


class DepthwiseSeparableConv(nn.Sequential):
    """A convolution of each channel on its own, then a 1x1 convolution across channels (MobileNet, arXiv:1704.04861).

    Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, ceil(H/stride), ceil(W/stride))``. No ReLU lies between the
    two, as in Fast-SCNN (arXiv:1902.04502, section 3.2.1).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the first convolution's kernel in pixels, an odd number.
        stride: Step of the first convolution in pixels.
        dilation: Distance of its kernel's taps in pixels.
        norm_between: Whether a batch norm follows the first convolution as it follows the second.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        norm_between: bool = True,
    ) -> None:
        depthwise = ConvBN(
            in_channels, in_channels, kernel_size=kernel_size, stride=stride, dilation=dilation, groups=in_channels
        )
        super().__init__(
            depthwise if norm_between else depthwise[0],
            ConvBNReLU(in_channels, out_channels, kernel_size=1),
        )


class InvertedResidual(nn.Module):
    """MobileNetV2's bottleneck: expand, filter each channel, project without a ReLU (arXiv:1801.04381).

    Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, ceil(H/stride), ceil(W/stride))``. The input is added where
    it has the output's shape.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        expansion: The inner layers have this many times ``in_channels``.
        stride: Step of the depthwise convolution in pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, *, expansion: int, stride: int = 1) -> None:
        super().__init__()
        inner = expansion * in_channels
        self.layers = nn.Sequential(
            ConvBNReLU(in_channels, inner, kernel_size=1),
            ConvBNReLU(inner, inner, stride=stride, groups=inner),
            ConvBN(inner, out_channels, kernel_size=1),
        )
        self.adds_input = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        """Return the features after the block."""
        result: Tensor = self.layers(features)
        return features + result if self.adds_input else result


def initialise_he(module: nn.Module) -> None:
    """Draw the weights of every convolution in ``module`` as He et al. propose for ReLUs (arXiv:1502.01852)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_channels(*, in_channels: int, num_classes: int) -> None:
    """Refuse a network that would have no input or no output.

    Raises:
        ValueError: If one of the two is not a whole number of at least 1.
    """
    for name, value in (("in_channels", in_channels), ("num_classes", num_classes)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
