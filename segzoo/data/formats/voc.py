"""PASCAL VOC segmentation as its archives unpack: ``VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from segzoo.data.classes import VOC_BORDER, classes_of
from segzoo.data.findings import Finding
from segzoo.data.formats.archives import fetch_unpacked
from segzoo.data.formats.files import PairSource
from segzoo.data.formats.pairs import Found, deal, pair_listed
from segzoo.errors import DataError, MissingDataError, did_you_mean
from segzoo.recipe.data import VocData

ARCHIVES = {
    "2007": (
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar",
        "c52e279531787c972589f7e41ab4ae64",
    ),
    "2012": (
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "6cd6e144f989b92b3379bac3b3de84fd",
    ),
}
"""Address and MD5 of training and validation images by year."""

LABELLED = ("train", "trainval", "val")
"""The official splits whose masks are public: fractional splits are drawn from them."""


def list_voc(data: VocData, *, seed: int, in_channels: int) -> tuple[PairSource, tuple[Finding, ...]]:
    """Find the files of a ``voc`` section, fetching them first if it asks for that.

    Raises:
        DataError: If the data is missing or has no such split.
        DownloadError: If the data could not be fetched.
    """
    classes = classes_of(data)
    root = Path(data.root)
    folder = find_voc(root, data.year)
    if folder is None and data.download:
        url, md5 = ARCHIVES[data.year]
        inside = f"VOCdevkit/VOC{data.year}"
        fetch_unpacked(url, md5, root=root, inside=inside, target=root / inside)
        folder = find_voc(root, data.year)
    if folder is None:
        way_out = "remove what is there, and it is fetched anew" if data.download else "data.download true fetches it"
        raise MissingDataError(
            f"no PASCAL VOC {data.year} in {root} (data.root, relative to the current directory): expected "
            f"{root / 'VOCdevkit' / f'VOC{data.year}'} with JPEGImages, SegmentationClass and ImageSets/Segmentation; "
            f"{way_out}"
        )
    lists = {path.stem: path for path in (folder / "ImageSets" / "Segmentation").glob("*.txt")}
    splits, findings = deal(
        data.splits,
        lambda split: _listed(folder, lists, split),
        lambda: _pairs(folder, {name for split in LABELLED if split in lists for name in _names(lists[split])}),
        seed=seed,
    )
    border = (VOC_BORDER,) if len(classes) <= VOC_BORDER else ()
    ignored = (*data.ignore_labels, *border)
    return PairSource(classes, data.ignore_index, splits, "index", ignored, in_channels=in_channels), findings


def find_voc(root: Path, year: str) -> Path | None:
    """Return the folder of a year's images, masks and lists, at or below the root."""
    candidates = (root / "VOCdevkit" / f"VOC{year}", root / f"VOC{year}", root)
    return next((path for path in candidates if (path / "ImageSets" / "Segmentation").is_dir()), None)


def _listed(folder: Path, lists: Mapping[str, Path], split: str) -> Found:
    if split not in lists:
        raise DataError(
            f"{folder} has no split {split!r}; ImageSets/Segmentation has "
            f"{', '.join(sorted(lists)) or 'none'}.{did_you_mean(split, lists)}"
        )
    return _pairs(folder, _names(lists[split]))


def _names(path: Path) -> set[str]:
    try:
        return set(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list of a split, {path}: {error}") from error


def _pairs(folder: Path, names: Iterable[str]) -> Found:
    return pair_listed(
        names,
        lambda name: folder / "JPEGImages" / f"{name}.jpg",
        lambda name: folder / "SegmentationClass" / f"{name}.png",
    )
