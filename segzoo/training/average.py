"""The exponential moving average of a model's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follows a model: each step makes it ``decay * average + (1 - decay) * weights`` (arXiv:1412.6980, section 7.2).

    Buffers of floating numbers, such as the statistics of batch norms, are averaged too; others are copied. Weights
    that do not change keep every bit in the average.

    Args:
        model: The model; the average begins as a copy of it.
        decay: Share of the average that a step keeps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model's weights."""
        pairs = list(zip(self._tensors(self.model), self._tensors(model), strict=True))
        floating = [(mine, new) for mine, new in pairs if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floating], [new for _, new in floating], 1 - self.decay)
        for mine, new in pairs:
            if not mine.is_floating_point():
                mine.copy_(new)

    @staticmethod
    def _tensors(model: nn.Module) -> list[Tensor]:
        return [*(parameter.data for parameter in model.parameters()), *model.buffers()]
