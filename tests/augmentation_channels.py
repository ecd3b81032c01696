"""Build ``segzoo/catalog/augmentation_channels.json``: which transforms act on images of how many channels.

``python tests/augmentation_channels.py`` tries every transform of albumentations that a recipe may name and writes the
table; ``tests/catalog/test_augmentation_channels.py`` compares the committed file with what this file builds.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from segzoo.recipe.augment import ANY_CHANNELS, augmentation_table

PATH = Path(__file__).parents[1] / "segzoo" / "catalog" / "augmentation_channels.json"

COMPOSITIONS = ("OneOf", "SomeOf", "Sequential")
SEEDS, ENOUGH_SEEDS = 24, 8
TRIED = {1: (1,), 2: (2,), 4: (4,), ANY_CHANNELS: (5, 6, 7, 8, 13)}
"""Numbers of channels that are tried, by the number that stands for them in the table."""

RED_GREEN_BLUE = frozenset({"RGBShift"})
"""Transforms whose arguments are of red, green and blue, though they take other images and ignore some arguments."""

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "CenterCrop": {"height": 32, "width": 32},
    "Crop": {"x_max": 32, "y_max": 32},
    "CropAndPad": {"px": [4, 4, 4, 4]},
    "CropNonEmptyMaskIfExists": {"height": 32, "width": 32},
    "LongestMaxSize": {"max_size": 32},
    "PadIfNeeded": {"min_height": 80, "min_width": 80},
    "RandomCrop": {"height": 32, "width": 32},
    "RandomResizedCrop": {"size": [32, 32]},
    "RandomSizedCrop": {"min_max_height": [16, 32], "size": [32, 32]},
    "Resize": {"height": 32, "width": 32},
    "SmallestMaxSize": {"max_size": 32},
}
"""What a transform cannot do without, or whose default is larger than the image."""


def channel_table() -> dict[str, list[int]]:
    """Return the numbers of channels that suit a transform, for those that not all suit."""
    table = {}
    for name in sorted(set(augmentation_table().transforms) - {*COMPOSITIONS}):
        suited = sorted([3, *(count for count, tried in TRIED.items() if _suits(name, tried))])
        if len(suited) < 1 + len(TRIED):
            table[name] = suited
    return table


def as_text(table: Mapping[str, list[int]]) -> str:
    """Return JSON with one line for each transform."""
    return "{\n" + ",\n".join(f"  {json.dumps(name)}: {suited}" for name, suited in table.items()) + "\n}\n"


def _suits(name: str, counts: tuple[int, ...]) -> bool:
    if name in RED_GREEN_BLUE:
        return False
    all_of_rgb = _changed(name, 3) == {0, 1, 2}
    for count in counts:
        changed = _changed(name, count)
        # A transform that leaves a channel of RGB alone, or drops a random one, need not reach all.
        if (
            changed is None
            or (_changed(name, 3) and not changed)
            or (all_of_rgb and count < 6 and len(changed) < count)
        ):
            return False
    return True


@cache
def _changed(name: str, channels: int) -> set[int] | None:
    """Return the channels that a transform changes for some seed; None where it refuses, warns or breaks the image."""
    image = np.random.default_rng(0).integers(0, 256, (64, 48, channels), dtype=np.uint8)
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[16:40, 16:40] = 1
    changed: set[int] = set()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This augmenter is very slow")
        compose = A.Compose([getattr(A, name)(**ARGUMENTS.get(name, {}), p=1.0)], strict=True)
        warnings.simplefilter("error")
        for seed in range(SEEDS):
            compose.set_random_seed(seed)
            try:
                result: NDArray[Any] = compose(image=image.copy(), mask=mask)["image"]
            except Exception:  # each transform has its own way to refuse an image
                return None
            if result.dtype != np.uint8 or result.ndim != 3 or result.shape[2] != channels:
                return None
            changed |= {k for k in range(channels) if not np.array_equal(result[..., k], image[..., k])}
            if len(changed) == channels and seed + 1 >= ENOUGH_SEEDS:
                break
    return changed


if __name__ == "__main__":
    PATH.write_text(as_text(channel_table()), encoding="utf-8")
