"""Folders of images and masks, paired by file name: the format ``folder``, and the layout that others share."""

from __future__ import annotations

from pathlib import Path

from segzoo.data.classes import classes_of
from segzoo.data.findings import Finding
from segzoo.data.formats.files import PairSource
from segzoo.data.formats.pairs import Found, deal, join, pair_folders
from segzoo.errors import DataError, MissingDataError, did_you_mean
from segzoo.recipe.data import FolderData


def list_folder(data: FolderData, *, seed: int, in_channels: int) -> tuple[PairSource, tuple[Finding, ...]]:
    """Find the pairs of files of a ``folder`` section.

    Raises:
        DataError: If a folder is missing.
    """
    classes = classes_of(data)
    root = find_root(data.root)
    images, masks = data.images, data.masks
    splits, findings = deal(
        data.splits,
        lambda split: official_split(root, split),
        lambda: (
            all_splits(root)
            if images is None or masks is None
            else pair_folders(_locate(root, images), _locate(root, masks))
        ),
        seed=seed,
    )
    source = PairSource(classes, data.ignore_index, splits, data.mask_mode, data.ignore_labels, in_channels=in_channels)
    return source, findings


def find_root(folder: str) -> Path:
    """Return the root of data in folders of splits.

    Raises:
        MissingDataError: If it is not there.
    """
    root = Path(folder)
    if not root.is_dir():
        raise MissingDataError(
            f"the data folder {root} is missing (data.root, relative to the current directory); "
            "expected in it: <split>/images and <split>/masks, paired by file name"
        )
    return root


def official_split(root: Path, split: str, *, mask_end: str = "") -> Found:
    """Pair the files of ``<root>/<split>/images`` and ``<root>/<split>/masks``.

    Raises:
        DataError: If one of the folders is missing; the splits that are there are listed.
    """
    images, masks = root / split / "images", root / split / "masks"
    missing = [folder for folder in (images, masks) if not folder.is_dir()]
    if missing:
        found = split_names(root)
        raise DataError(
            f"{root} has no split {split!r}: {' and '.join(map(str, missing))} missing; "
            f"found: {', '.join(found) or 'none'}.{did_you_mean(split, found)}"
        )
    return pair_folders(images, masks, mask_end=mask_end)


def all_splits(root: Path, *, mask_end: str = "") -> Found:
    """Return what fractional splits are drawn from; names tell the official splits apart.

    Raises:
        DataError: If there is no split.
    """
    found = split_names(root)
    if not found:
        raise DataError(f"{root} has no folder with images and masks: expected <split>/images and <split>/masks")
    return join(
        pair_folders(root / split / "images", root / split / "masks", prefix=f"{split}/", mask_end=mask_end)
        for split in found
    )


def split_names(root: Path) -> list[str]:
    """Return the folders that have images and masks in them."""
    return sorted(path.name for path in root.iterdir() if (path / "images").is_dir() and (path / "masks").is_dir())


def _locate(root: Path, folder: str) -> Path:
    """Return a folder that a recipe names inside the root, or from the current directory."""
    candidates = (root / folder, Path(folder))
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " and ".join(dict.fromkeys(str(candidate) for candidate in candidates))
    raise DataError(f"the folder {folder!r} is missing: looked for {looked}, relative to {Path.cwd()}")
