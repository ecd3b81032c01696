"""Folders of images and masks, paired by file name: the formats ``folder`` and ``camvid``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segzoo.data.classes import CAMVID_VOID, classes_of
from segzoo.data.formats.files import FileSource
from segzoo.data.images import SUFFIXES
from segzoo.data.source import Sample, draw_splits, name_some, refuse_empty
from segzoo.errors import DataError, MissingDataError, did_you_mean
from segzoo.recipe.data import CamvidData, FolderData


def open_folder(data: FolderData | CamvidData, *, seed: int) -> FileSource:
    """Find the pairs of files of a ``folder`` or ``camvid`` section.

    Raises:
        DataError: If a folder is missing, a file lacks its partner, or a split is empty.
    """
    classes = classes_of(data)
    root = Path(data.root)
    if not root.is_dir():
        raise MissingDataError(
            f"the data folder {root} is missing (data.root, relative to the current directory); "
            "expected in it: <split>/images and <split>/masks, paired by file name"
        )
    splits = _find_splits(data, root, seed)
    refuse_empty(splits, str(root))
    if isinstance(data, FolderData):
        return FileSource(classes, data.ignore_index, splits, data.mask_mode, data.ignore_labels)
    # A recipe with twelve classes of its own makes the void one of them.
    void = (CAMVID_VOID,) if len(classes) <= CAMVID_VOID else ()
    return FileSource(classes, data.ignore_index, splits, "index", (*data.ignore_labels, *void))


def _find_splits(data: FolderData | CamvidData, root: Path, seed: int) -> dict[str, tuple[Sample, ...]]:
    official: dict[str, str] = {}
    fractions: dict[str, float] = {}
    for split, share in data.splits.items():
        if isinstance(share, str):
            official[split] = share
        else:
            fractions[split] = share
    if official:
        return {split: _pair(*_split_folders(root, folder)) for split, folder in official.items()}
    return draw_splits(_all_samples(data, root), fractions, seed=seed)


def _all_samples(data: FolderData | CamvidData, root: Path) -> list[Sample]:
    """Return what fractional splits are drawn from; names tell the official splits apart."""
    if isinstance(data, FolderData) and data.images is not None and data.masks is not None:
        return list(_pair(_locate(root, data.images), _locate(root, data.masks)))
    found = _official_splits(root)
    if not found:
        raise DataError(f"{root} has no folder with images and masks: expected <split>/images and <split>/masks")
    return [sample for split in found for sample in _pair(*_split_folders(root, split), prefix=f"{split}/")]


def _official_splits(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if (path / "images").is_dir() and (path / "masks").is_dir())


def _split_folders(root: Path, split: str) -> tuple[Path, Path]:
    images, masks = root / split / "images", root / split / "masks"
    missing = [folder for folder in (images, masks) if not folder.is_dir()]
    if missing:
        found = _official_splits(root)
        raise DataError(
            f"{root} has no split {split!r}: {' and '.join(map(str, missing))} missing; "
            f"found: {', '.join(found) or 'none'}.{did_you_mean(split, found)}"
        )
    return images, masks


def _locate(root: Path, folder: str) -> Path:
    """Return a folder that a recipe names inside the root, or from the current directory."""
    candidates = (root / folder, Path(folder))
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = " and ".join(dict.fromkeys(str(candidate) for candidate in candidates))
    raise DataError(f"the folder {folder!r} is missing: looked for {looked}, relative to {Path.cwd()}")


def _pair(images: Path, masks: Path, *, prefix: str = "") -> tuple[Sample, ...]:
    found, partners = _files(images), _files(masks)
    alone = [f"{found[name]}: no mask in {masks}" for name in sorted(found.keys() - partners.keys())]
    alone += [f"{partners[name]}: no image in {images}" for name in sorted(partners.keys() - found.keys())]
    if alone:
        raise DataError(f"{len(alone)} files lack their partner of the same name:\n{name_some(alone)}")
    return tuple(
        Sample(prefix + name, found[name], partners[name], number) for number, name in enumerate(sorted(found))
    )


def _files(folder: Path) -> Mapping[str, Path]:
    """Return the image files below a folder by their relative names without suffix."""
    found: dict[str, Path] = {}
    repeated = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            repeated.append(f"{found[name]} and {path.name}")
        found[name] = path
    if repeated:
        raise DataError(f"{len(repeated)} names occur twice:\n{name_some(repeated)}")
    return found
