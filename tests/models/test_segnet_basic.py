"""SegNet-Basic has the layers of its paper and normalises the contrast of its image."""

import pytest
import torch
from torch import nn

from segzoo.catalog.scratch import SegNetBasicParams
from segzoo.models.segnet import SegNet
from segzoo.models.segnet_basic import build


def basic(*, in_channels: int = 3, num_classes: int = 11) -> SegNet:
    """Build the network."""
    return build(SegNetBasicParams(), in_channels=in_channels, num_classes=num_classes)


def test_parameters_are_those_of_the_layers() -> None:
    """Eight 7x7 convolutions of 64 channels without bias, a batch norm behind each, a 1x1 classifier."""
    with torch.device("meta"):
        model = basic()

    assert sum(parameter.numel() for parameter in model.parameters()) == (
        3 * 64 * 49 + 7 * 64 * 64 * 49 + 8 * 2 * 64 + 64 * 11 + 11
    )


def test_relu_is_in_the_encoder_only() -> None:
    """Four convolutions with ReLU go down, four without go up."""
    with torch.device("meta"):
        model = basic()

    for part, relus in [(model.encoder, 4), (model.decoder, 0)]:
        convs = [layer for layer in part.modules() if isinstance(layer, nn.Conv2d)]
        assert [conv.kernel_size for conv in convs] == [(7, 7)] * 4
        assert all(conv.bias is None for conv in convs)
        assert sum(isinstance(layer, nn.ReLU) for layer in part.modules()) == relus


def test_one_value_of_the_deepest_features_sees_106_pixels() -> None:
    """The paper's context window: 7 pixels, then at each level the pooling and a 7x7 kernel at twice the distance."""
    with torch.device("meta"):
        kernels = [layer.kernel_size[0] for layer in basic().encoder.modules() if isinstance(layer, nn.Conv2d)]
    seen, distance = 1, 1
    for kernel in kernels:
        seen += (kernel - 1) * distance + distance  # the convolution, then the pooling of 2x2
        distance *= 2

    assert seen == 106


def test_contrast_is_normalised_as_in_the_released_network() -> None:
    """Values in [0, 1] give what the formula with 1e-4 gives for values up to 255, up to that factor."""
    normalise = next(layer for layer in basic().encoder.modules() if isinstance(layer, nn.LocalResponseNorm))
    image = torch.rand(2, 3, 4, 5)
    pixels = image * 255

    expected = pixels / (1 + 1e-4 / 5 * pixels.square().sum(dim=1, keepdim=True)) ** 0.75

    torch.testing.assert_close(normalise(image) * 255, expected)


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (97, 131)])
def test_any_size(size: tuple[int, int]) -> None:
    """Unpooling restores odd sizes exactly."""
    assert basic().eval()(torch.rand(1, 3, *size)).shape == (1, 11, *size)


def test_gradient_reaches_every_parameter() -> None:
    """Two images of four channels train every layer."""
    model = basic(in_channels=4)

    model(torch.rand(2, 4, 32, 32)).square().mean().backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.ndim == 1 or parameter.grad.any(), name


def test_refuses_no_classes() -> None:
    """Used on its own, the builder names the value that is wrong."""
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        basic(num_classes=0)
