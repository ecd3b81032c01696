"""The exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follows a model: each step makes it ``decay * average + (1 - decay) * weights`` (arXiv:1412.6980, section 7.2).

    Buffers of floating numbers, such as the statistics of batch norms, are averaged too; others are copied. Weights
    that do not change keep every bit in the average.

    Args:
        model: The model that it follows; the average begins as a copy of it. Its tensors must stay the same objects,
            as they do where a state dict is loaded.
        decay: Share of the average that a step keeps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        # Collected once: to go through the modules in every step takes longer than to launch the kernels.
        self._floating = _columns(pair for pair in pairs if pair[0].is_floating_point())
        self._counters = _columns(pair for pair in pairs if not pair[0].is_floating_point())

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the model's weights."""
        mine, new = self._floating
        torch._foreach_lerp_(mine, new, 1 - self.decay)
        mine, new = self._counters
        if mine:
            torch._foreach_copy_(mine, new)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*(parameter.data for parameter in model.parameters()), *model.buffers()]


def _columns(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    listed = list(pairs)
    return [mine for mine, _ in listed], [new for _, new in listed]
