"""Counts of parameters and operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from segzoo import create_model
from segzoo.analysis.count import CONVENTION, Counts, count
from segzoo.smp import build_encoder

# Name, classes, channels, parameters of the model, size, and GMACs to the digits that are known.
KNOWN = [
    ("segnet", 12, 3, {}, (360, 640), 29_449_932, "141.85"),
    ("unet", 2, 1, {"padding": 0}, (572, 572), 31_030_658, "150.43"),
    ("unet", 2, 1, {}, (576, 576), 31_030_658, "243.49"),
    ("fcn32s", 21, 3, {}, (512, 512), 136_152_917, "190.2"),
    pytest.param("fcn16s", 21, 3, {}, (512, 512), 134_815_994, "190.3", marks=pytest.mark.slow),
    pytest.param("fcn8s", 21, 3, {}, (512, 512), 134_489_759, "190.4", marks=pytest.mark.slow),
    ("fast_scnn", 19, 3, {}, (1024, 2048), 1_138_051, "6.708"),
    ("unet_resnet34", 21, 3, {}, (512, 512), 24_439_269, "32.011"),
    ("deeplabv3plus_mobilenet_v2", 21, 3, {}, (512, 512), 4_383_653, "6.0095"),
    ("fpn_resnet18", 21, 3, {}, (512, 512), 13_049_813, "17.7985"),
    ("smp_segformer", 21, 3, {"encoder": "mit_b0"}, (512, 512), 3_719_541, "7.8468"),
]
PARAMETERS = [
    ("segnet_pets", 3, {}, 15_274_892),
    ("segnet_pets_separable", 3, {}, 1_749_671),
    ("unet", 2, {}, 31_031_810),
]
TORCHVISION = [
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
]


@pytest.mark.parametrize(("name", "classes", "channels", "params", "size", "parameters", "gmacs"), KNOWN)
def test_known_networks(
    name: str, classes: int, channels: int, params: dict[str, Any], size: tuple[int, int], parameters: int, gmacs: str
) -> None:
    """Parameters and multiply-accumulates are those that are known of the network, to every digit."""
    model = create_model(name, num_classes=classes, in_channels=channels, **params)
    counts = count(model, size=size, in_channels=channels)
    assert counts.parameters == parameters
    digits = len(gmacs.partition(".")[2])
    assert f"{counts.macs / 1e9:.{digits}f}" == gmacs
    assert sum(counts.parts.values()) == parameters
    assert counts.train_only == 0


@pytest.mark.parametrize(("name", "classes", "params", "parameters"), PARAMETERS)
def test_known_parameters(name: str, classes: int, params: dict[str, Any], parameters: int) -> None:
    """The variants of which only parameters are known have as many."""
    model = create_model(name, num_classes=classes, **params)
    assert count(model, size=(64, 64), in_channels=3).parameters == parameters


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    """Parameters and multiply-accumulates are those that torchvision publishes, to three decimals."""
    published = torchvision.models.get_model_weights(name).DEFAULT.meta  # type: ignore[attr-defined]
    heads = {} if name.startswith("lraspp") else {"aux_loss": True}
    with torch.device("meta"):  # nothing has to be drawn
        model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=21, **heads)
    counts = count(model, size=(520, 520), in_channels=3)
    assert counts.parameters == published["num_params"]
    assert round(counts.macs / 1e9, 3) == published["_ops"]


def test_a_depthwise_separable_convolution() -> None:
    """5x5 windows, 3 to 256 channels, 8x8 outputs: 1,228,800 multiplications, or 53,952 in two steps."""
    whole = nn.Conv2d(3, 256, 5)
    separable = nn.Sequential(nn.Conv2d(3, 3, 5, groups=3), nn.Conv2d(3, 256, 1))
    assert count(whole, size=(12, 12), in_channels=3).macs == 1_228_800
    assert count(separable, size=(12, 12), in_channels=3).macs == 53_952


TOKENS, WIDTH = 12, 8


class Attends(nn.Module):
    """Attention over the pixels of an image, by one of the ways in which torch has it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        """Return the attended image."""
        tokens = image.flatten(2).transpose(1, 2)
        if self.way == "function":
            return F.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.attention(tokens, tokens, tokens, need_weights=self.way == "layer with weights")[0]


class AttendsToValues(Attends):
    """The same, where a value has to be known on the way."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the attended image."""
        assert image.sum().item() > 0
        return super().forward(image)


PRODUCTS, PROJECTIONS = 2 * TOKENS * TOKENS * WIDTH, 4 * TOKENS * WIDTH * WIDTH


@pytest.mark.parametrize("kind", [Attends, AttendsToValues])
@pytest.mark.parametrize(
    ("way", "macs"),
    [("function", PRODUCTS), ("layer", PRODUCTS + PROJECTIONS), ("layer with weights", PRODUCTS + PROJECTIONS)],
)
def test_attention_is_counted(kind: type[Attends], way: str, macs: int) -> None:
    """Projections and both products count, on the meta device and the CPU; the fast path is as it was afterwards."""
    assert count(kind(way).eval(), size=(3, 4), in_channels=WIDTH).macs == macs
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_transformer_layer_is_counted() -> None:
    """In evaluation torch has one kernel for the whole layer; here it is four projections, two products, two layers."""
    hidden = 16
    layer = nn.TransformerEncoderLayer(WIDTH, 2, hidden, batch_first=True).eval()
    model = nn.Sequential(nn.Flatten(2), layer)  # the image's channels are the tokens
    macs = PRODUCTS + PROJECTIONS + 2 * TOKENS * WIDTH * hidden
    assert count(model, size=(2, 4), in_channels=TOKENS).macs == macs


@pytest.mark.parametrize("ask", [lambda x: x.sum().item(), lambda x: x.numpy().sum(), lambda x: len(x.nonzero())])
def test_networks_that_ask_for_values(ask: Callable[[Tensor], float]) -> None:
    """A network that cannot run on the meta device is counted on the CPU, and counts as it would there."""

    class Asks(nn.Conv2d):
        def forward(self, image: Tensor) -> Tensor:
            assert ask(image) > 0
            return super().forward(image)

    asks, plain = (
        count(Asks(3, 4, 3), size=(9, 5), in_channels=3),
        count(nn.Conv2d(3, 4, 3), size=(9, 5), in_channels=3),
    )
    assert (asks.macs, asks.parameters, asks.train_only) == (plain.macs, plain.parameters, 0)


def test_an_image_that_is_refused() -> None:
    """The shape and torch's reason are told."""
    with pytest.raises(ValueError, match=r"Conv2d fails on an image of \(1, 5, 8, 8\): .* to have 3 channels"):
        count(nn.Conv2d(3, 1, 3), size=(8, 8), in_channels=5)


def tiny() -> Counts:
    """Return the counts of a 3x3 convolution, a batch norm in place of the bias, and a ReLU."""
    layers = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU())
    layers[0].requires_grad_(False)
    return count(layers, size=(6, 7), in_channels=2)


def test_a_network_small_enough_for_paper() -> None:
    """Every number is what one finds by hand."""
    counts = tiny()
    pixels = 6 * 7
    assert (counts.parameters, counts.trainable, counts.buffers) == (90 + 10, 10, 11)
    assert counts.macs == 90 * pixels
    assert counts.activations == 5 * pixels
    assert counts.operations == 3
    assert sum(counts.uncounted.values()) == 2
    convolution = 4 * (2 * pixels + 90 + 5 * pixels)
    normalisation = 4 * (2 * 5 * pixels + 20 + 10)  # torch's kernel hands on two statistics
    assert counts.bytes_moved == convolution + normalisation + 4 * 2 * 5 * pixels


def test_modules() -> None:
    """Each module has what it costs itself; the network, named by nothing, has the sums."""
    counts = tiny()
    whole, convolution, normalisation, _ = counts.modules
    assert (whole.name, whole.kind, whole.macs, whole.bytes_moved) == (
        "",
        "Sequential",
        counts.macs,
        counts.bytes_moved,
    )
    assert (convolution.name, convolution.parameters, convolution.macs) == ("0", 90, counts.macs)
    assert (normalisation.kind, normalisation.macs) == ("BatchNorm2d", 0)
    assert sum(module.bytes_moved for module in counts.modules[1:]) == counts.bytes_moved


def test_shared_parameters_count_once() -> None:
    """A layer under two names is one layer of parameters, and is counted each time it runs."""
    layer = nn.Conv2d(3, 3, 1, bias=False)
    counts = count(nn.Sequential(layer, layer), size=(4, 4), in_channels=3)
    assert (counts.parameters, counts.macs) == (9, 2 * 9 * 16)


def test_heads_of_training_are_told() -> None:
    """What evaluation never reads is counted as such, and not run."""

    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, 2, 1, bias=False)
            self.auxiliary = nn.Conv2d(3, 7, 1, bias=False)

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = self.head(image)
            return logits + self.auxiliary(image).mean() if self.training else logits

    counts = count(Auxiliary(), size=(4, 4), in_channels=3)
    assert (counts.parameters, counts.train_only, counts.macs) == (27, 21, 6 * 16)
    assert dict(counts.parts) == {"head": 6, "other": 21}


def test_the_network_stays_as_it_is() -> None:
    """Mode, device, statistics and hooks are untouched."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count(model, size=(8, 8), in_channels=3)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_half_precision_counts_as_single() -> None:
    """Bytes are those of float32, whatever the weights are stored in."""
    layer = nn.Conv2d(3, 4, 3)
    single = count(layer, size=(8, 8), in_channels=3)
    assert count(layer.to(torch.bfloat16), size=(8, 8), in_channels=3) == single


def test_an_encoder_alone() -> None:
    """A module that returns several maps is counted, too."""
    assert count(build_encoder("resnet18", in_channels=3), size=(64, 64), in_channels=3).macs > 0


@pytest.mark.parametrize(("size", "channels", "shape"), [((0, 4), 3, "3x0x4"), ((4, 4), 0, "0x4x4")])
def test_no_image(size: tuple[int, int], channels: int, shape: str) -> None:
    """An image of nothing is refused with its shape."""
    with pytest.raises(ValueError, match=f"at least 1 channel and 1 pixel, got {shape}"):
        count(nn.Conv2d(3, 1, 1), size=size, in_channels=channels)


def test_convention_names_the_unit() -> None:
    """The convention says what a MAC is and what is counted."""
    assert CONVENTION.startswith("GMACs (1 MAC = 2 FLOPs; conv + matmul)")
