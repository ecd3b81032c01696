"""Optimizers over fixed groups, one for each part of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from segzoo.recipe.schema import Adam, AdamW, OptimizerSection, Sgd
from segzoo.transfer import parameter_groups


def build_optimizer(
    model: nn.Module, section: OptimizerSection, *, scales: Mapping[str, float], fused: bool
) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe with every parameter of the model in it.

    Args:
        model: The model, on its device.
        section: The recipe's optimizer.
        scales: Factor on the learning rate for each part; parts that are not named have 1.
        fused: Whether to use the fused kernels, which exist on GPUs.
    """
    groups: list[dict[str, Any]] = [
        {"params": parameters, "part": part, "scale": scales.get(part, 1.0)}
        for part, parameters in parameter_groups(model).items()
    ]
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


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to ``rate`` times the group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the learning rate of each part."""
    return {group["part"]: float(group["lr"]) for group in optimizer.param_groups}
