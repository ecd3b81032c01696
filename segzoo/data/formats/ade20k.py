"""ADE20K as the scene parsing benchmark of 150 classes (arXiv:1608.05442)."""

from __future__ import annotations

from pathlib import Path

from segzoo.data.classes import classes_of
from segzoo.data.findings import Finding
from segzoo.data.formats.files import PairSource
from segzoo.data.formats.pairs import Found, deal, join, pair_folders
from segzoo.errors import DataError, MissingDataError, did_you_mean
from segzoo.recipe.data import Ade20kData

FOLDER = "ADEChallengeData2016"
SPLITS = ("training", "validation")

VOID = 255
LABELS = (VOID, *range(150))
"""Masks hold 1 to 150, and 0 for everything else."""


def list_ade20k(data: Ade20kData, *, seed: int, in_channels: int) -> tuple[PairSource, tuple[Finding, ...]]:
    """Find the files of an ``ade20k`` section.

    Raises:
        DataError: If the data is missing or has no such split.
    """
    classes = classes_of(data)
    root = Path(data.root)
    folder = next((path for path in (root / FOLDER, root) if (path / "annotations").is_dir()), None)
    if folder is None:
        raise MissingDataError(
            f"no ADE20K in {root} (data.root, relative to the current directory): expected {root / FOLDER} with images "
            "and annotations; fetch ADEChallengeData2016.zip from http://sceneparsing.csail.mit.edu and unpack it there"
        )
    splits, findings = deal(
        data.splits,
        lambda split: _pairs(folder, split),
        lambda: join(_pairs(folder, split) for split in SPLITS),
        seed=seed,
    )
    source = PairSource(
        classes,
        data.ignore_index,
        splits,
        "index",
        (*data.ignore_labels, VOID),
        in_channels=in_channels,
        labels=LABELS,
    )
    return source, findings


def _pairs(folder: Path, split: str) -> Found:
    images, masks = folder / "images" / split, folder / "annotations" / split
    if split not in SPLITS or not (images.is_dir() and masks.is_dir()):
        raise DataError(
            f"{folder} has no split {split!r}: expected {images} and {masks}; "
            f"ADE20K has {' and '.join(SPLITS)}.{did_you_mean(split, SPLITS)}"
        )
    return pair_folders(images, masks)
