"""Intervals cover the truth as often as they say, and depend on nothing but the counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from segzoo.metrics import SCORES, bootstrap_intervals, bootstrap_mean


def simulated(images: int, seed: int, *, accuracy: float = 0.7) -> torch.Tensor:
    """Return the counts of images of two classes whose shares of right pixels vary around a known one."""
    random = np.random.default_rng(seed)
    right = random.binomial(200, random.beta(accuracy * 20, (1 - accuracy) * 20, (images, 2)))
    true = np.full((images, 2), 200)
    predicted = right + (200 - right)[:, ::-1]
    return torch.from_numpy(np.stack([right, true, predicted], axis=1))


def test_covers_the_truth() -> None:
    """Of 200 samples of 60 images, about 95 in 100 have the true accuracy inside their interval."""
    covered = 0
    for seed in range(200):
        low, high = bootstrap_intervals(simulated(60, seed), resamples=400)["pixel_accuracy"]
        covered += low <= 0.7 <= high

    assert 180 <= covered <= 198


def test_agrees_with_numpy() -> None:
    """An interval is made of the quantiles of scores over images drawn with replacement."""
    counts = simulated(30, 0)
    drawn = torch.randint(30, (500, 30), generator=torch.Generator().manual_seed(7)).numpy()
    hits, true = counts[:, 0].sum(1).numpy(), counts[:, 1].sum(1).numpy()
    scores = [hits[row].sum() / true[row].sum() for row in drawn]

    low, high = bootstrap_intervals(counts, resamples=500, level=0.9, seed=7)["pixel_accuracy"]

    assert (low, high) == pytest.approx(tuple(np.quantile(scores, [0.05, 0.95])), rel=1e-12)


def test_is_repeatable_and_has_every_score() -> None:
    """Equal counts give equal intervals around the score itself."""
    counts = simulated(40, 3)

    intervals = bootstrap_intervals(counts)

    assert intervals == bootstrap_intervals(counts)
    for name, score in SCORES.items():
        low, high = intervals[name]
        assert low <= score(counts.sum(0).double()).item() <= high


def test_one_image_says_nothing_of_others() -> None:
    """With a single image the interval is the score; without any there is none."""
    counts = simulated(1, 0)
    low, high = bootstrap_intervals(counts)["pixel_accuracy"]
    assert low == high
    with pytest.raises(ValueError, match="at least 1 image, got 0"):
        bootstrap_intervals(counts[:0])


def test_mean_of_images_scores() -> None:
    """Where the counts are the scores, it is the interval of the counts; images without a score are left out."""
    counts = simulated(30, 5)
    shares = counts[:, 0].sum(1).double() / counts[:, 1].sum(1)

    assert bootstrap_mean(shares) == pytest.approx(bootstrap_intervals(counts)["pixel_accuracy"], rel=1e-12)
    low, high = bootstrap_mean(torch.tensor([0.25, torch.nan, 0.75]))
    assert (low, high) == (0.25, 0.75)
    assert all(math.isnan(end) for end in bootstrap_mean(torch.full((2,), torch.nan)))
    with pytest.raises(ValueError, match="at least 1 image, got 0"):
        bootstrap_mean(torch.zeros(0))
