"""How far a score would move had other images of the same kind been scored."""

from __future__ import annotations

import torch
from torch import Tensor

from segzoo.metrics.scores import SCORES

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0


def bootstrap_intervals(
    counts: Tensor, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = SEED
) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of every score over images drawn with replacement (Efron 1979).

    Images are drawn, not pixels: the pixels of an image are alike. With few images the interval is too narrow.

    Args:
        counts: The counts of each image, ``(N, 3, C)``.
        resamples: How often N images are drawn.
        level: Share of the resamples inside the interval.
        seed: Decides the draws.

    Raises:
        ValueError: If there are no images.
    """
    times = _draw(len(counts), resamples, seed)
    sums = (times @ counts.to("cpu", torch.float64).flatten(1)).view(resamples, *counts.shape[1:])
    return {name: _percentiles(score(sums), level) for name, score in SCORES.items()}


def bootstrap_mean(
    values: Tensor, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = SEED
) -> tuple[float, float]:
    """Return the percentile interval of the mean of a score that each image has for itself.

    Args:
        values: The score of each image, ``(N,)``; NaN for images that have none and are left out.
        resamples: How often N images are drawn.
        level: Share of the resamples inside the interval.
        seed: Decides the draws.

    Raises:
        ValueError: If there are no images.
    """
    times = _draw(len(values), resamples, seed)
    exact = values.to("cpu", torch.float64)
    means = (times @ exact.nan_to_num(0)) / (times @ (~exact.isnan()).double())
    return _percentiles(means, level)


def _draw(images: int, resamples: int, seed: int) -> Tensor:
    """Return how often each resample has each image, float64 ``(resamples, images)``."""
    if images < 1:
        raise ValueError("a bootstrap needs at least 1 image, got 0")
    drawn = torch.randint(images, (resamples, images), generator=torch.Generator().manual_seed(seed))
    times = torch.zeros(resamples, images, dtype=torch.float64)
    return times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))


def _percentiles(scores: Tensor, level: float) -> tuple[float, float]:
    """Return the ends between which the middle ``level`` of the scores lies; NaN scores are left out."""
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = scores.nanquantile(ends).tolist()
    return low, high
