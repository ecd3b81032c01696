"""Optimizers over fixed groups, one for each part of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segzoo.recipe.schema import Adam, AdamW, OptimizerSection, Sgd
from segzoo.transfer import encoder_layers, parameter_groups

KERNELS = ("fused", "foreach", "capturable", "differentiable")
"""Settings of an optimizer that follow from its device; everything else in its groups comes from the recipe."""


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


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load a saved state, perhaps of another device, and keep the optimizer's kernels as they were built.

    torch would take the kernels from the saved state. A run that began on the CPU would then launch a thousand kernels
    in each step on a GPU, and keep counters of steps in the wrong memory.

    Args:
        optimizer: The optimizer, as :func:`build_optimizer` returned it.
        saved: What ``state_dict`` of an optimizer over the same groups returned.

    Raises:
        ValueError: If the groups differ.
    """
    built = [dict(group) for group in optimizer.param_groups]
    # torch places the counters by the kernels of the saved groups, so these are replaced before and not after.
    groups = [
        {**group, **{key: own[key] for key in KERNELS if key in own}}
        for own, group in zip(built, saved["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({**saved, "param_groups": groups})
    for own, group in zip(built, optimizer.param_groups, strict=True):
        # A rate that kernels read from the device's memory stays the same tensor.
        rate = float(group["lr"])
        group["lr"] = own["lr"].fill_(rate) if isinstance(own["lr"], Tensor) else rate
        if not (group.get("fused") or group.get("capturable")):
            _count_on_host(optimizer, group["params"])


def _count_on_host(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
    """Move counters of steps to the CPU, where kernels that are neither fused nor captured read them."""
    for parameter in parameters:
        state = optimizer.state.get(parameter, {})
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].cpu()


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to ``rate`` times the group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the learning rate of each part."""
    return {group["part"]: float(group["lr"]) for group in optimizer.param_groups}
