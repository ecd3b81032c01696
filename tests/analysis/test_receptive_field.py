"""Theoretical receptive fields."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from segzoo import create_model
from segzoo.analysis.receptive_field import AxisField, ReceptiveField, receptive_field


class Backbone(nn.Module):
    """The convolutional stages of torchvision's ResNet; ``first`` moves the stride into the first 1x1 convolution."""

    def __init__(self, name: str, *, first: bool = False) -> None:
        super().__init__()
        with torch.device("meta"):  # weights are not looked at
            self.net = torchvision.models.get_model(name, weights=None)
        for stage in (self.net.layer2, self.net.layer3, self.net.layer4) if first else ():
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the deepest features."""
        net = self.net
        features = net.maxpool(net.relu(net.bn1(net.conv1(image))))
        return net.layer4(net.layer3(net.layer2(net.layer1(features))))


def vgg(layers: int) -> nn.Module:
    """Return the first layers of torchvision's VGG16."""
    with torch.device("meta"):
        return torchvision.models.vgg16(weights=None).features[:layers]


def mobilenet_v2() -> nn.Module:
    """Return the convolutional layers of torchvision's MobileNetV2."""
    with torch.device("meta"):
        return torchvision.models.mobilenet_v2(weights=None).features


KNOWN: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "VGG16 conv5_3": (lambda: vgg(29), 196),
    "VGG16 pool5": (lambda: vgg(31), 212),
    "ResNet18": (lambda: Backbone("resnet18"), 435),
    "ResNet34": (lambda: Backbone("resnet34"), 899),
    "ResNet50 v1": (lambda: Backbone("resnet50", first=True), 483),
    "ResNet50 v1.5": (lambda: Backbone("resnet50"), 427),
    "MobileNetV2": (mobilenet_v2, 491),
}


def both(found: ReceptiveField) -> AxisField:
    """Return the field along either axis, where they are the same."""
    assert found.height == found.width
    return found.height


@pytest.mark.parametrize("name", KNOWN)
def test_known_backbones(name: str) -> None:
    """The field is the one that is known, along both axes and for every output."""
    build, field = KNOWN[name]
    assert both(receptive_field(build(), in_channels=3)) == AxisField(field, field, "")


def test_unet_without_padding() -> None:
    """An output of the U-Net of 2015 sees 188 or 204 pixels, by its row."""
    model = create_model("unet", num_classes=2, in_channels=1, padding=0)
    assert both(receptive_field(model, in_channels=1)) == AxisField(188, 204, "")


def test_unet_resnet18() -> None:
    """The Unet of smp on ResNet18 has an output that sees 531 pixels; others see a pixel of the deepest map more."""
    assert both(receptive_field(create_model("unet_resnet18", num_classes=2), in_channels=3)) == AxisField(531, 563, "")


@pytest.mark.parametrize(
    ("name", "params", "cause"),
    [
        ("deeplabv3plus_resnet18", {}, "pooling to a fixed size in decoder.aspp.0.convs.4.0"),
        pytest.param(
            *("deeplabv3plus_mobilenet_v2", {}, "pooling to a fixed size in decoder.aspp.0.convs.4.0"),
            marks=pytest.mark.slow,
        ),
        ("smp_segformer", {"encoder": "mit_b0"}, "attention in encoder.block1.0.attn and 7 more"),
        ("aspp_resnet18", {}, "an average over the image in decoder.aspp.image"),
        ("unet_resnet18_se", {}, "an average over the image in decoder.attention"),
    ],
)
def test_global_with_its_cause(name: str, params: dict[str, str], cause: str) -> None:
    """A field that is the whole image has no size, but a cause with its place."""
    found = receptive_field(create_model(name, num_classes=2, **params), in_channels=3)
    assert both(found) == AxisField(None, None, cause)


def test_layer_by_layer() -> None:
    """Of two convolutions around a pooling the outputs see 3, 4 and 8 pixels."""
    layers = nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3))
    found = receptive_field(layers, in_channels=1)
    assert [(layer.name, layer.kind, layer.kernel, layer.stride, layer.field) for layer in found.layers] == [
        ("0", "conv2d", (3, 3), (1, 1), 3),
        ("1", "max_pool2d", (2, 2), (2, 2), 4),
        ("2", "conv2d", (3, 3), (1, 1), 8),
    ]
    assert both(found) == AxisField(8, 8, "")


def test_layers_end_with_the_network() -> None:
    """The last layers of VGG16 see what the networks that end with them see, and 1x1 convolutions are left out."""
    found = receptive_field(vgg(31).append(nn.Conv2d(512, 2, 1)), in_channels=3)
    assert [layer.field for layer in found.layers[-2:]] == [196, 212]


def test_axes_differ() -> None:
    """Height and width are found apart."""
    layers = nn.Sequential(nn.Conv2d(2, 3, (5, 1)), nn.Conv2d(3, 4, (3, 7), stride=(2, 1), dilation=(4, 1)))
    found = receptive_field(layers, in_channels=2)
    assert (found.height, found.width) == (AxisField(13, 13, ""), AxisField(7, 7, ""))


class Residual(nn.Module):
    """Operations of every kind that change a map in place, or subtract, scale and gate it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.scale = nn.Parameter(-torch.ones(4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return a map of the same size."""
        x = F.relu_(self.conv(image))  # 3
        x += image
        y = self.scale * self.conv(x)  # 5
        y = F.silu(y, inplace=True).mul_(2.0)
        gate = torch.sigmoid(F.layer_norm(self.conv(y), y.shape[1:]))  # 7
        return gate * y + (1 - gate) * x - x


def test_nothing_cancels() -> None:
    """Differences, gates and negative scales leave no pixel out."""
    assert both(receptive_field(Residual(), in_channels=4)) == AxisField(7, 7, "")


def test_against_real_gradients() -> None:
    """Where nothing needs to be replaced, the field is the support of the network's own gradient."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(2, 3, 5, stride=2, padding=2),
        nn.AvgPool2d(3, 1),
        nn.Conv2d(3, 3, 3, dilation=3),
        nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1),
        nn.Upsample(scale_factor=2, mode="bilinear"),
    ).double()
    image = torch.rand(1, 2, 128, 128, dtype=torch.float64, requires_grad=True)
    scores = layers(image)
    sizes = set()
    for row in range(80, 88):
        (gradient,) = torch.autograd.grad(scores[0, :, row].sum(), image, retain_graph=True)
        rows = gradient.sum(dim=(0, 1, 3)).nonzero()
        sizes.add(int(rows[-1] - rows[0]) + 1)
    assert both(receptive_field(layers, in_channels=2)) == AxisField(min(sizes), max(sizes), "")


def test_unpooling_spreads_over_the_window() -> None:
    """A maximum may have been anywhere in its window, so every pixel behind an unpooling sees all of it."""

    class Unpools(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

        def forward(self, image: Tensor) -> Tensor:
            return self.unpool(*self.pool(image))

    assert both(receptive_field(Unpools(), in_channels=1)) == AxisField(2, 2, "")


class Attends(nn.Module):
    """Attention of all pixels to all, by one of three ways to write it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.layer = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        """Return a map of the same size."""
        x = F.avg_pool2d(image, 8).flatten(2).transpose(1, 2)
        if self.way == "layer":
            x = self.layer(x, x, x)[0]
        elif self.way == "function":
            x = F.scaled_dot_product_attention(x, x, x)
        else:
            x = (x @ x.transpose(1, 2)).softmax(-1) @ x
        return x.transpose(1, 2).unflatten(2, (image.shape[2] // 8, image.shape[3] // 8))


@pytest.mark.parametrize("way", ["layer", "function", "products"])
def test_attention_is_global(way: str) -> None:
    """Attention is recognised however it is written."""
    field = both(receptive_field(Attends(way), in_channels=4))
    assert field.smallest is None
    assert field.cause.startswith("attention in ")


def test_the_network_stays_as_it_is() -> None:
    """Weights, mode and hooks are untouched."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    receptive_field(model, in_channels=1)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Constant(nn.Module):
    """Ignores the image."""

    def forward(self, image: Tensor) -> Tensor:
        """Return a map of ones."""
        return torch.ones_like(image)


class UnpoolsCopies(nn.Module):
    """Undoes a max-pool by a copy of its indices."""

    def forward(self, image: Tensor) -> Tensor:
        """Return a map of the same size."""
        pooled, indices = F.max_pool2d(image, 2, return_indices=True)
        return F.max_unpool2d(pooled, indices.clone(), 2)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Conv2d(5, 1, 3), "from an image of 2x256x256"),
        (nn.Flatten(), r"a feature map \(N, C, H, W\) is needed, got Tensor"),
        (nn.ConvTranspose2d(5, 1, 3), "a transposed convolution of 5 channels is given 2"),
        (nn.Sequential(nn.Flatten(2), nn.Linear(5, 1)), "a linear layer of 5 channels is given"),
        (nn.MaxPool2d(3, dilation=2), "a max-pool with dilation 2"),
        (UnpoolsCopies(), "needs the indices of a max-pool as that returned them"),
        (Constant(), "the output does not depend on the image"),
    ],
)
def test_no_receptive_field(module: nn.Module, reason: str) -> None:
    """What has none, or none that can be found, is refused with the reason."""
    with pytest.raises(ValueError, match=reason):
        receptive_field(module, in_channels=2)
