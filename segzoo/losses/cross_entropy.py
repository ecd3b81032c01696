"""Cross-entropy and its kin: each pixel is scored by the probability of its own label."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segzoo.losses.base import MeanLoss, precise


class CrossEntropy(MeanLoss):
    """Pixel-wise cross-entropy: the weighted mean over the pixels that are not ignored.

    Args:
        ignore_index: Label that does not count.
        class_weights: One weight per class; None weighs all alike.
        label_smoothing: Share of the probability that is spread over all classes (arXiv:1512.00567, section 7).
    """

    class_weights: Tensor | None

    def __init__(
        self, *, ignore_index: int, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", None if class_weights is None else torch.tensor(class_weights))

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(weighted negative log-likelihood, weight)`` over the pixels that count."""
        valid = self.valid(target)
        ignored = ~valid
        labels = target.masked_fill(ignored, 0)
        # Not torch's own function, whose kernel adds up in any order on a GPU.
        log_likelihood = precise(logits).log_softmax(dim=1)
        own = log_likelihood.gather(1, labels.unsqueeze(1)).squeeze(1).masked_fill(ignored, 0)
        # Sums over all pixels: to pick those that count would have the host wait for the device.
        if self.class_weights is None:
            numerator, weight = -own.sum(), valid.sum().to(own.dtype)
        else:
            weights = self.class_weights[labels].masked_fill(ignored, 0)
            numerator, weight = -(own * weights).sum(), weights.sum().to(own.dtype)
        if self.label_smoothing:
            spread = -self._mean_over_classes(log_likelihood).masked_fill(ignored, 0).sum()
            numerator = (1 - self.label_smoothing) * numerator + self.label_smoothing * spread
        return torch.stack([numerator, weight])

    def _mean_over_classes(self, log_likelihood: Tensor) -> Tensor:
        """Return the mean over all classes, each times its weight, ``(N, H, W)``."""
        if self.class_weights is None:
            return log_likelihood.mean(dim=1)
        return (log_likelihood * self.class_weights.view(-1, 1, 1)).mean(dim=1)


class _PixelWeighted(MeanLoss):
    """A mean over pixels, each with a weight of its own."""

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(weighted loss, weight)`` over the pixels that count."""
        valid = self.valid(target)
        labels = target.where(valid, 0).unsqueeze(1)
        log_likelihood = precise(logits).log_softmax(dim=1).gather(1, labels).squeeze(1)
        loss, weight = self._weigh(log_likelihood, target, valid)
        weight = weight.to(loss.dtype) * valid
        return torch.stack([(loss * weight).sum(), weight.sum()])

    @abstractmethod
    def _weigh(self, log_likelihood: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and weight of each pixel, ``(N, H, W)`` like the arguments; ``valid`` says which count."""


class Focal(_PixelWeighted):
    """Cross-entropy in which pixels that are scored well count little (arXiv:1708.02002).

    A pixel whose label has probability ``p`` costs ``-alpha * (1 - p)**gamma * log(p)``; the loss is the mean.

    Args:
        ignore_index: Label that does not count.
        gamma: How fast the cost falls; 0 is the cross-entropy.
        alpha: Factor on the whole; None is 1.
    """

    def __init__(self, *, ignore_index: int, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        self.gamma = gamma
        self.alpha = 1.0 if alpha is None else alpha

    def _weigh(self, log_likelihood: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        # Rounding may leave the likelihood of a sure pixel above 1, and a power of a negative number is NaN.
        miss = (-torch.expm1(log_likelihood)).clamp_min(torch.finfo(log_likelihood.dtype).tiny)
        return -self.alpha * miss**self.gamma * log_likelihood, valid


class Ohem(_PixelWeighted):
    """Cross-entropy over the hardest pixels of each image: online hard example mining (arXiv:1604.03540).

    Args:
        ignore_index: Label that does not count.
        threshold: A pixel is hard where the probability of its label is below.
        min_kept: How many of an image's pixels count at least, the hardest first.
    """

    def __init__(self, *, ignore_index: int, threshold: float = 0.7, min_kept: int = 100_000) -> None:
        super().__init__(ignore_index=ignore_index)
        self.threshold = threshold
        self.min_kept = min_kept

    def _weigh(self, log_likelihood: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        likelihood = log_likelihood.detach().exp().where(valid, torch.inf).flatten(1)
        kept = min(self.min_kept, likelihood.shape[1])
        # Not kthvalue, which torch counts among the functions that are not deterministic on a GPU.
        hardest = likelihood.topk(kept, dim=1, largest=False, sorted=False).values.amax(dim=1, keepdim=True)
        hard = (likelihood < self.threshold) | (likelihood <= hardest)
        return -log_likelihood, hard.view_as(target)


class BoundaryCrossEntropy(_PixelWeighted):
    """Cross-entropy with more weight near the borders between classes, where most mistakes are made.

    A pixel weighs ``1 + boost`` where a pixel of another class that counts is at most ``width`` rows and columns away,
    else 1.

    Args:
        ignore_index: Label that does not count.
        boost: What is added to the weight.
        width: Reach in pixels to both sides of a border.
    """

    def __init__(self, *, ignore_index: int, boost: float = 4.0, width: int = 3) -> None:
        super().__init__(ignore_index=ignore_index)
        self.boost = boost
        self.width = width

    def _weigh(self, log_likelihood: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        near = near_border(target, valid, width=self.width)
        return -log_likelihood, 1 + self.boost * near


def near_border(target: Tensor, valid: Tensor, *, width: int) -> Tensor:
    """Return where a window of ``2 * width + 1`` pixels a side holds two labels that count, bool ``(N, H, W)``."""
    labels = target.float()
    highest = _window_max(labels.where(valid, -torch.inf), width)
    lowest = -_window_max((-labels).where(valid, -torch.inf), width)
    return highest > lowest


def _window_max(values: Tensor, width: int) -> Tensor:
    # One axis after the other: a square window would be wider than some images are high.
    rows = F.max_pool2d(values, (2 * width + 1, 1), stride=1, padding=(width, 0))
    return F.max_pool2d(rows, (1, 2 * width + 1), stride=1, padding=(0, width))
