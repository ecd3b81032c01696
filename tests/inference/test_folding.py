"""A folded network computes the same with fewer operations, and nothing is folded that would change it."""

from __future__ import annotations

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from segzoo import create_model
from segzoo.inference.folding import fold_batch_norms


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the batch norms of a network."""
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def lively(model: nn.Module) -> nn.Module:
    """Give batch norms statistics and weights that matter."""
    torch.manual_seed(0)
    for norm in norms(model):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
    return model.eval()


@pytest.mark.parametrize("name", ["fast_scnn", "unet_resnet34_se", "segnet_basic", "aspp_plus_mobilenet_v2"])
def test_every_batch_norm_of_a_model_is_folded(name: str) -> None:
    """None is left, and the logits stay what they were."""
    model = lively(create_model(name, num_classes=4))
    image = torch.randn(2, 3, 64, 96)
    count = len(norms(model))
    with torch.no_grad():
        expected = model(image)
        assert fold_batch_norms(model, image) == count
        found = model(image)
    assert not norms(model)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


class Graph(nn.Module):
    """One convolution and one batch norm, connected by a function."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), norm or nn.BatchNorm2d(3)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to the same shape."""
        found: Tensor = self.norm(self.conv(image))
        return found


class Shortcut(Graph):
    """The output of the convolution goes around the batch norm too."""

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to the same shape."""
        found = self.conv(image)
        normed: Tensor = self.norm(found)
        return normed + found


class Twice(Graph):
    """The convolution is used twice, once without the batch norm."""

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to the same shape."""
        found: Tensor = self.norm(self.conv(self.conv(image)))
        return found


class Between(Graph):
    """Something else happens between the two."""

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to the same shape."""
        found: Tensor = self.norm(self.conv(image).relu())
        return found


@pytest.mark.parametrize(
    ("network", "folded"),
    [
        (Graph(), 1),
        (Graph(BatchNormAct2d(3)), 1),
        (Graph(nn.BatchNorm2d(3, affine=False)), 1),
        (Shortcut(), 0),
        (Twice(), 0),
        (Between(), 0),
        (Graph(nn.BatchNorm2d(3, track_running_stats=False)), 0),
        (Graph(nn.GroupNorm(1, 3)), 0),
    ],
)
def test_only_what_follows_a_convolution_alone_is_folded(network: nn.Module, folded: int) -> None:
    """Where the convolution's output has another use, both stay; an activation inside a batch norm stays too."""
    torch.manual_seed(1)
    for name, buffer in network.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.uniform_(0.5, 2)
    network.eval()
    image = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        expected = network(image)
        assert fold_batch_norms(network, image) == folded
        torch.testing.assert_close(network(image), expected, rtol=0, atol=1e-5)


def test_hooks_are_gone() -> None:
    """The network keeps nothing of the pass that found the pairs."""
    network = Graph().eval()
    fold_batch_norms(network, torch.randn(1, 3, 8, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
