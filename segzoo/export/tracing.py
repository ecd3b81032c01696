"""What all formats share: a model held in evaluation mode, open dimensions, half precision."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from segzoo.errors import UnknownName

DIMENSIONS = {"batch": 0, "height": 2, "width": 3}
"""The axes of an image that an export can leave open, by name."""


def check_dimensions(dynamic: Collection[str]) -> None:
    """Refuse names of dimensions that an image does not have.

    Raises:
        UnknownName: If ``dynamic`` names no dimension.
    """
    for name in dynamic:
        if name not in DIMENSIONS:
            raise UnknownName("dimension", name, DIMENSIONS)


def example(model: nn.Module, in_channels: int, size: tuple[int, int], dynamic: Collection[str]) -> Tensor:
    """Return an image to trace a model with, on the model's device."""
    # One image would make torch take the batch for a constant.
    return torch.rand(2 if "batch" in dynamic else 1, in_channels, *size, device=_device(model))


class Half(nn.Module):
    """A copy of a model that computes in float16, between images and logits in float32.

    Args:
        model: The model, which stays as it is.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).half().train(model.training)
        self.training = model.training

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``, both float32."""
        logits: Tensor = self.model(image.half())
        return logits.float()


@contextlib.contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Hold a model in evaluation mode, and put each layer back into its own."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _device(model: nn.Module) -> torch.device:
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device
