"""What would only go wrong in the first step is found before it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segzoo.errors import UsageFault
from segzoo.recipe import Recipe
from segzoo.training.freezing import frozen_parts

logger = logging.getLogger(__name__)


class Refusal(NamedTuple):
    """Why a model cannot train on one image.

    Args:
        layer: Name of the submodule that refuses; empty where the model itself does.
        reason: What it says.
    """

    layer: str
    reason: str


def check_batch_norm(model: nn.Module, *, in_channels: int, size: tuple[int, int], processes: int = 1) -> None:
    """Refuse a batch of one image where a batch norm would see a single value per channel, or a layer says no.

    Args:
        model: The model; it is copied.
        in_channels: Channels of an image.
        size: Height and width of an image.
        processes: How many share a batch and have one image each.

    Raises:
        UsageFault: If there is such a layer; it is named.
    """
    refusal = find_refusal(model, in_channels=in_channels, size=size)
    if refusal is not None:
        shared = f" for {processes} processes" if processes > 1 else ""
        raise UsageFault(
            f"train.batch_size {processes}{shared}: the layer {refusal.layer or 'at the top'} cannot train on one "
            f"image of {size[0]}x{size[1]} pixels: {refusal.reason}; use a train.batch_size of {2 * processes} or more"
        )


def warn_of_random_features(recipe: Recipe) -> None:
    """Warn where a recipe freezes an encoder whose weights are random: what follows it would learn from noise."""
    if recipe.model.weights is not None or not frozen_parts(recipe.transfer, 1):
        return
    key = "strategy" if recipe.transfer.unfreeze_encoder_at is None else "unfreeze_encoder_at"
    logger.warning(
        "transfer.%s %r freezes an encoder of random weights, as model.weights is null: its features know nothing of "
        "images. Set model.weights, or train the encoder too",
        key,
        getattr(recipe.transfer, key),
    )


def find_refusal(model: nn.Module, *, in_channels: int, size: tuple[int, int]) -> Refusal | None:
    """Return the first layer that cannot train on a single image, or None where all can.

    The model runs on the meta device, so nothing is computed.

    Args:
        model: The model; it is copied.
        in_channels: Channels of the image.
        size: Height and width of the image.
    """
    trial = copy.deepcopy(model).to("meta").train()
    running: list[str] = []
    for name, module in trial.named_modules():
        module.register_forward_pre_hook(_enter(name, running))
        module.register_forward_hook(_leave(running))
    try:
        trial(torch.empty(1, in_channels, *size, device="meta"))
    except ValueError as error:
        return Refusal(running[-1], str(error))
    return None


def _enter(name: str, running: list[str]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Return a hook that notes the layer, and refuses one value per channel in a batch norm."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        running.append(name)
        if isinstance(module, _BatchNorm) and module.training and inputs[0].numel() == inputs[0].shape[1]:
            raise ValueError("a batch norm would see a single value per channel, of which no statistics can be taken")

    return hook


def _leave(running: list[str]) -> Callable[..., None]:
    """Return a hook that takes the layer off the list again."""

    def hook(*_: object) -> None:
        running.pop()

    return hook
