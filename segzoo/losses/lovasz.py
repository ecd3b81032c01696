"""Lovász-softmax: a convex surrogate of the intersection over union."""

from __future__ import annotations

import torch
from torch import Tensor

from segzoo.losses.base import MeanLoss, one_hot, precise


class Lovasz(MeanLoss):
    """The Lovász extension of the Jaccard loss (arXiv:1705.08790): per image the mean over its classes, then the mean.

    Where every probability is 0 or 1 it is one minus the mean IoU of the classes that an image's target holds.

    Args:
        ignore_index: Label that does not count.
    """

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(sum of the images' losses, images)``; an image without a label that counts is none."""
        valid = self.valid(target)
        truth = one_hot(target, valid, logits.shape[1]).flatten(2)
        # A pixel that does not count has the error 0: it comes last and moves no other.
        errors = (truth.to(torch.float32) - precise(logits).softmax(dim=1).flatten(2)).abs()
        errors = errors * valid.flatten(1).unsqueeze(1)
        ordered, order = errors.sort(dim=2, descending=True, stable=True)
        with torch.no_grad():
            slopes = _jaccard_slopes(truth.gather(2, order), ordered.dtype)
            present = truth.any(dim=2).to(ordered.dtype)
        losses = ((ordered * slopes).sum(dim=2) * present).sum(dim=1) / present.sum(dim=1).clamp_min(1)
        return torch.stack([losses.sum(), present.any(dim=1).sum().to(losses.dtype)])


def _jaccard_slopes(truth: Tensor, dtype: torch.dtype) -> Tensor:
    """Return by how much each further error raises the Jaccard loss, for truth ``(N, C, P)`` in falling order of error.

    It is the gradient of the Lovász extension with respect to the sorted errors. Let ``I`` and ``U`` be intersection
    and union once the errors up to a pixel are made. A wrong pixel of the class takes 1 from the intersection, which
    adds ``1 / U`` to the loss. A wrong pixel of another class adds 1 to the union, which adds ``I / (U * (U - 1))``.
    Both counts are whole numbers, and no difference of nearly equal ratios is taken, so float32 is exact enough.
    """
    hits = truth.cumsum(dim=2, dtype=torch.int64)
    total = hits[..., -1:]
    union = total + torch.arange(1, truth.shape[2] + 1, device=truth.device) - hits
    # The union before the first false pixel of a class that is absent is 0; such classes do not count.
    per_pixel = torch.where(truth, 1, (total - hits).to(dtype) / (union - 1).clamp_min(1).to(dtype))
    return per_pixel / union.to(dtype)
