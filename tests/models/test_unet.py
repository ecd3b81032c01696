"""U-Net has its published size, with and without padding, and works at every size it promises."""

from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segzoo.catalog.scratch import UNetParams, UNetUpsampling
from segzoo.models.unet import UPSAMPLING, UNet, build

every_upsampling = pytest.mark.parametrize("upsampling", get_args(UNetUpsampling))


def count(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def unpadded_size(side: int) -> int:
    """Return the side of the logits that the docstring promises."""
    return 16 * ((side - 124) // 16) - 60


@pytest.mark.parametrize(
    ("in_channels", "padding", "side", "parameters", "gmacs", "logits"),
    [
        (1, 0, 572, 31_030_658, "150.43", 388),
        (1, 1, 576, 31_030_658, "243.49", 576),
        (3, 1, 576, 31_031_810, "243.87", 576),
    ],
)
def test_parameters_and_cost_of_the_paper(
    in_channels: int, padding: int, side: int, parameters: int, gmacs: str, logits: int
) -> None:
    """2 classes: 31,030,658 parameters for grey images, 31,031,810 for RGB; 150.43 GMAC unpadded at 572x572."""
    with torch.device("meta"):
        model = UNet(num_classes=2, in_channels=in_channels, padding=padding).eval()
        with FlopCounterMode(display=False) as counter:
            result = model(torch.empty(1, in_channels, side, side))

    assert count(model) == parameters
    assert f"{counter.get_total_flops() / 2e9:.2f}" == gmacs
    assert result.shape == (1, 2, logits, logits)


@every_upsampling
@pytest.mark.parametrize("size", [(64, 64), (97, 131), (33, 47), (16, 17), (1, 1)])
def test_any_size_with_padding(upsampling: UNetUpsampling, size: tuple[int, int]) -> None:
    """Logits have the image's size, odd or not, down to a single pixel."""
    with torch.device("meta"):
        model = UNet(num_classes=3, upsampling=upsampling).eval()

        assert model(torch.empty(2, 3, *size)).shape == (2, 3, *size)


@every_upsampling
def test_every_unpadded_size_is_the_promised_one(upsampling: UNetUpsampling) -> None:
    """From 188 pixels on every size works, whether or not it halves without rest, and no logits are padded."""
    with torch.device("meta"):
        model = UNet(num_classes=2, in_channels=1, padding=0, upsampling=upsampling).eval()
        for side in range(188, 222):
            logits = model(torch.empty(1, 1, side, 572))

            assert logits.shape == (1, 2, unpadded_size(side), 388), side


def test_unpadded_logits_rest_on_the_pixels_around_them() -> None:
    """What does not halve is left out at the bottom and the right, so the same window gives the same logits.

    An image of 203x203 pixels scores as its first 188x188, and a window that starts 16 pixels further on, as in the
    paper's overlapping tiles, scores as it does inside the whole.
    """
    torch.manual_seed(0)
    model = UNet(num_classes=2, in_channels=1, padding=0).eval()
    image = torch.rand(1, 1, 188 + 15, 188 + 16)

    with torch.no_grad():
        whole = model(image)
        first, second = model(image[..., :188, :188]), model(image[..., :188, 16:])

    assert whole.shape == (1, 2, 4, 20)
    torch.testing.assert_close(whole[..., :4], first, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole[..., 16:], second, rtol=1e-4, atol=1e-4)


def test_unpadded_skip_connections_are_cut_from_the_middle() -> None:
    """At 572 pixels each skip connection loses as much on the left as on the right, as in the paper's figure."""
    cuts: list[tuple[int, int, int]] = []
    with torch.device("meta"):
        model = UNet(num_classes=2, in_channels=1, padding=0).eval()
        for level in model.decoder.levels:
            level.register_forward_pre_hook(
                lambda level, args: cuts.append((args[1].shape[-1], 2 * args[0].shape[-1], level.margin))
            )
        model(torch.empty(1, 1, 572, 572))

    assert [(skip, up) for skip, up, _ in cuts] == [(64, 56), (136, 104), (280, 200), (568, 392)]
    assert all(skip - up == 2 * margin for skip, up, margin in cuts)


def test_unpadded_refuses_images_that_leave_nothing() -> None:
    """The message holds the size, the smallest one and the way out."""
    model = UNet(num_classes=2, padding=0)

    with pytest.raises(ValueError, match=r"at least 188x188 pixels, got 187x200; use padding=1"):
        model(torch.empty(1, 3, 187, 200))


@pytest.mark.parametrize("upsampling", ["bilinear", "pixel_shuffle"])
def test_gradient_reaches_every_parameter(upsampling: UNetUpsampling) -> None:
    """Each kind of upsampling but the default, which the contract checks, trains every kernel of the network."""
    torch.manual_seed(0)
    model = UNet(num_classes=2, upsampling=upsampling)

    model(torch.rand(1, 3, 17, 23)).square().mean().backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_upsampling_is_the_parameter() -> None:
    """The four levels of the expanding path hold the block that was asked for."""
    for name, block in UPSAMPLING.items():
        with torch.device("meta"):
            model = build(UNetParams(upsampling=name), in_channels=3, num_classes=2)

        assert [type(level.upsample) for level in model.decoder.levels] == [block] * 4


def test_skip_connections_reach_the_level_they_left() -> None:
    """Each level of the decoder gets the very features of its level in the encoder."""
    model = UNet(num_classes=2).eval()
    skips: list[Tensor] = []
    for level in model.decoder.levels:
        level.register_forward_pre_hook(lambda _level, args: skips.append(args[1]))
    image = torch.rand(1, 3, 32, 32)

    model(image)
    features: Sequence[Tensor] = model.encoder(image)

    assert [tuple(map.shape[1:]) for map in features] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (1024, 2, 2),
    ]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(skips, features[3::-1], strict=True))


def test_has_no_batch_norm_and_starts_after_he() -> None:
    """Weights start with variance 2 / fan_in, so activations keep their scale without any batch norm."""
    torch.manual_seed(0)
    model = UNet(num_classes=4).eval()

    assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
    assert model.encoder.levels[4][2].weight.var().item() == pytest.approx(2 / (1024 * 9), rel=0.02)
    with torch.no_grad():
        assert 0.1 < model(torch.randn(1, 3, 64, 64)).std().item() < 10


def test_dropout_ends_the_two_deepest_levels_and_acts_only_in_training() -> None:
    """Two passes differ in training mode at a rate of 0.5 and not at 0; in evaluation mode they never differ."""
    image = torch.rand(1, 3, 16, 16)
    for rate in (0.5, 0.0):
        model = build(UNetParams(dropout=rate), in_channels=3, num_classes=2)
        last = [list(level.children())[-1] for level in model.encoder.levels]
        assert [layer.p for layer in last if isinstance(layer, nn.Dropout)] == [rate, rate]
        assert all(isinstance(layer, nn.Dropout) for layer in last[3:])
        assert torch.equal(model(image), model(image)) == (rate == 0.0)
        model.eval()
        assert torch.equal(model(image), model(image))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"num_classes": 2, "in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"num_classes": 2, "padding": 2}, "padding must be 0 or 1, got 2"),
        ({"num_classes": 2, "upsampling": "nearest"}, "one of transposed, bilinear, pixel_shuffle, got 'nearest'"),
    ],
)
def test_refuses_what_makes_no_sense(arguments: dict[str, object], message: str) -> None:
    """Used on its own, the class names the value that is wrong."""
    with pytest.raises(ValueError, match=message):
        UNet(**arguments)
