"""Dealing samples out to splits, and what all formats share."""

from __future__ import annotations

from pathlib import Path

import pytest

from segzoo.data.source import Sample, draw_splits, name_some, refuse_empty
from segzoo.errors import DataError

SAMPLES = [Sample(f"{number:03}", Path("a"), Path("b"), number) for number in range(100)]


def test_fractions_deal_out_every_sample_once() -> None:
    """Halves and quarters of 100 samples have 50, 25 and 25, share none, and are sorted."""
    splits = draw_splits(SAMPLES, {"train": 0.5, "val": 0.25, "test": 0.25}, seed=0)
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 50, "val": 25, "test": 25}
    assert {sample for samples in splits.values() for sample in samples} == set(SAMPLES)
    assert all(list(samples) == sorted(samples, key=lambda sample: sample.name) for samples in splits.values())


@pytest.mark.parametrize("count", range(1, 12))
def test_thirds_lose_none(count: int) -> None:
    """Fractions that sum to 1 deal out all samples of any number, without overlap."""
    splits = draw_splits(SAMPLES[:count], {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, seed=3)
    assert sorted(sample.name for samples in splits.values() for sample in samples) == [
        sample.name for sample in SAMPLES[:count]
    ]


def test_draw_depends_on_the_seed_alone() -> None:
    """Neither the order of the samples nor that of the splits matters; another seed deals otherwise."""
    splits = draw_splits(SAMPLES, {"train": 0.6, "val": 0.3}, seed=0)
    assert splits == draw_splits(SAMPLES[::-1], {"val": 0.3, "train": 0.6}, seed=0)
    assert splits != draw_splits(SAMPLES, {"train": 0.6, "val": 0.3}, seed=1)
    assert sum(map(len, splits.values())) == 90


def test_draw_is_mixed() -> None:
    """A split is no run of neighbours, which in a video would be one scene."""
    train = draw_splits(SAMPLES, {"train": 0.5, "val": 0.5}, seed=0)["train"]
    assert train[-1].number - train[0].number > 80


def test_empty_split_is_named() -> None:
    """A split without samples is refused, with the place that was searched and what the others have."""
    with pytest.raises(DataError, match=r"no samples in split 'val': looked in data/x \(train has 100\)"):
        refuse_empty({"train": SAMPLES, "val": ()}, "data/x")


def test_long_lists_are_cut() -> None:
    """Twenty names are listed and the others counted."""
    assert name_some(["a", "b"]) == "  a\n  b"
    lines = name_some([sample.name for sample in SAMPLES]).splitlines()
    assert (len(lines), lines[19], lines[20]) == (21, "  019", "  and 80 more")
