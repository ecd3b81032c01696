"""Optimizers over fixed groups, one for each part of the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from segzoo.recipe.schema import Adam, AdamW, OptimizerSection, Sgd
from segzoo.transfer import encoder_layers, parameter_groups


def build_optimizer(
    model: nn.Module, section: OptimizerSection, *, encoder_scale: float, layer_decay: float | None, fused: bool
) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe with every parameter of the model in it.

    Args:
        model: The model, on its device.
        section: The recipe's optimizer.
        encoder_scale: Factor on the encoder's learning rate.
        layer_decay: Splits the encoder into its layers: each has this factor on the learning rate of the one after it,
            the last one on ``encoder_scale`` (arXiv:1801.06146); None leaves the encoder one group.
        fused: Whether to use the fused kernels, which exist on GPUs.
    """
    groups = list(_groups(model, encoder_scale, layer_decay))
    match section:
        case Sgd():
            return torch.optim.SGD(
                groups, lr=section.lr, momentum=section.momentum, weight_decay=section.weight_decay, fused=fused
            )
        case Adam():
            return torch.optim.Adam(
                groups, lr=section.lr, betas=section.betas, weight_decay=section.weight_decay, fused=fused
            )
        case AdamW():
            return torch.optim.AdamW(
                groups, lr=section.lr, betas=section.betas, weight_decay=section.weight_decay, fused=fused
            )


def _groups(model: nn.Module, encoder_scale: float, layer_decay: float | None) -> Iterator[dict[str, Any]]:
    for part, parameters in parameter_groups(model).items():
        if part != "encoder":
            yield {"params": parameters, "part": part, "scale": 1.0}
        elif layer_decay is None:
            yield {"params": parameters, "part": part, "scale": encoder_scale}
        else:
            layers = encoder_layers(model)
            for depth, (name, members) in enumerate(layers.items()):
                scale = encoder_scale * layer_decay ** (len(layers) - depth)
                yield {"params": members, "part": name, "scale": scale}


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to ``rate`` times the group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the learning rate of each part."""
    return {group["part"]: float(group["lr"]) for group in optimizer.param_groups}
