"""Cityscapes: fine annotations of 50 cities as the 19 classes of its benchmark (arXiv:1604.01685)."""

from __future__ import annotations

from pathlib import Path

from segzoo.data.classes import classes_of
from segzoo.data.findings import Finding
from segzoo.data.formats.files import PairSource
from segzoo.data.formats.pairs import Found, deal, join, pair_folders
from segzoo.errors import DataError, MissingDataError, did_you_mean
from segzoo.recipe.data import CityscapesData

IMAGES, MASKS = "leftImg8bit", "gtFine"
IMAGE_END, IDS_END, TRAIN_IDS_END = "_leftImg8bit", "_gtFine_labelIds", "_gtFine_labelTrainIds"

SCORED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids of the classes that the benchmark scores, in the order of their labels; all others are void."""

VOID = 255
LABELS = tuple(SCORED.index(value) if value in SCORED else VOID for value in range(34))
"""The label of each id that the data set knows."""


def list_cityscapes(data: CityscapesData, *, seed: int, in_channels: int) -> tuple[PairSource, tuple[Finding, ...]]:
    """Find the files of a ``cityscapes`` section.

    Masks of ids, as the data set is distributed, become labels; ``labelTrainIds`` without them are labels already.

    Raises:
        DataError: If the data is missing or has no such split.
    """
    classes = classes_of(data)
    root = Path(data.root)
    if not ((root / IMAGES).is_dir() and (root / MASKS).is_dir()):
        raise MissingDataError(
            f"no Cityscapes in {root} (data.root, relative to the current directory): expected {root / IMAGES} and "
            f"{root / MASKS}; it has to be fetched by hand, after registration, from "
            "https://www.cityscapes-dataset.com: leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip"
        )
    ids = next((root / MASKS).rglob(f"*{IDS_END}.png"), None) is not None
    end = IDS_END if ids else TRAIN_IDS_END
    found = [name for name in _splits(root) if name != "test"]  # whose masks are void
    splits, findings = deal(
        data.splits,
        lambda split: _pairs(root, split, end),
        lambda: join(_pairs(root, name, end) for name in found),
        seed=seed,
    )
    source = PairSource(
        classes,
        data.ignore_index,
        splits,
        "index",
        (*data.ignore_labels, VOID),
        in_channels=in_channels,
        labels=LABELS if ids else None,
    )
    return source, findings


def _splits(root: Path) -> list[str]:
    return sorted(path.name for path in (root / IMAGES).iterdir() if (root / MASKS / path.name).is_dir())


def _pairs(root: Path, split: str, end: str) -> Found:
    found = _splits(root)
    if split not in found:
        raise DataError(
            f"{root} has no split {split!r}; found: {', '.join(found) or 'none'}.{did_you_mean(split, found)}"
        )
    return pair_folders(root / IMAGES / split, root / MASKS / split, image_end=IMAGE_END, mask_end=end)
