"""PASCAL VOC segmentation as its archives unpack: ``VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets}``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from segzoo.data.classes import VOC_BORDER, classes_of
from segzoo.data.formats.files import FileSource
from segzoo.data.source import Sample, draw_splits, name_some, refuse_empty
from segzoo.download import fetch
from segzoo.errors import DataError, MissingDataError, did_you_mean
from segzoo.files import safe_unpack
from segzoo.recipe.data import VocData

ARCHIVES = {
    "2007": (
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar",
        "c52e279531787c972589f7e41ab4ae64",
    ),
    "2012": (
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "6cd6e144f989b92b3379bac3b3de84fd",
    ),
}
"""Address and MD5 of training and validation images by year; the publisher offers neither https nor SHA-256."""

LABELLED = ("train", "trainval", "val")
"""The official splits whose masks are public: fractional splits are drawn from them."""


def open_voc(data: VocData, *, seed: int) -> FileSource:
    """Find the files of a ``voc`` section, fetching them first if it asks for that.

    Raises:
        DataError: If the data is missing, a split lists files that are not there, or a split is empty.
        DownloadError: If the data could not be fetched.
    """
    classes = classes_of(data)
    root = Path(data.root)
    folder = _find(root, data.year)
    if folder is None and data.download:
        _download(root, data.year)
        folder = _find(root, data.year)
    if folder is None:
        raise MissingDataError(
            f"no PASCAL VOC {data.year} in {root} (data.root, relative to the current directory): expected "
            f"{root / 'VOCdevkit' / f'VOC{data.year}'} with JPEGImages, SegmentationClass and ImageSets/Segmentation; "
            "data.download true fetches it"
        )
    splits = _find_splits(data, folder, seed)
    refuse_empty(splits, str(folder / "ImageSets" / "Segmentation"))
    border = (VOC_BORDER,) if len(classes) <= VOC_BORDER else ()
    return FileSource(classes, data.ignore_index, splits, "index", (*data.ignore_labels, *border))


def _find(root: Path, year: str) -> Path | None:
    candidates = (root / "VOCdevkit" / f"VOC{year}", root / f"VOC{year}", root)
    return next((path for path in candidates if (path / "ImageSets" / "Segmentation").is_dir()), None)


def _find_splits(data: VocData, folder: Path, seed: int) -> dict[str, tuple[Sample, ...]]:
    lists = {path.stem: path for path in (folder / "ImageSets" / "Segmentation").glob("*.txt")}
    official: dict[str, tuple[Sample, ...]] = {}
    fractions: dict[str, float] = {}
    for split, share in data.splits.items():
        if not isinstance(share, str):
            fractions[split] = share
        elif share in lists:
            official[split] = _samples(folder, _names(lists[share]))
        else:
            raise DataError(
                f"{folder} has no split {share!r}; ImageSets/Segmentation has "
                f"{', '.join(sorted(lists)) or 'none'}.{did_you_mean(share, lists)}"
            )
    if official:
        return official
    names = {name for split in LABELLED if split in lists for name in _names(lists[split])}
    return draw_splits(_samples(folder, names), fractions, seed=seed)


def _names(path: Path) -> set[str]:
    return set(path.read_text(encoding="utf-8").split())


def _samples(folder: Path, names: Iterable[str]) -> tuple[Sample, ...]:
    samples = tuple(
        Sample(name, folder / "JPEGImages" / f"{name}.jpg", folder / "SegmentationClass" / f"{name}.png", number)
        for number, name in enumerate(sorted(names))
    )
    missing = [
        f"{path}: missing"
        for sample in samples
        for path in (sample.image, sample.mask)
        if path is not None and not path.is_file()
    ]
    if missing:
        raise DataError(f"{len(missing)} files that the splits of {folder} list are not there:\n{name_some(missing)}")
    return samples


def _download(root: Path, year: str) -> None:
    url, md5 = ARCHIVES[year]
    archive = fetch(url, folder=root, name=url.rsplit("/", 1)[1], md5=md5)
    target = root / "VOCdevkit" / f"VOC{year}"
    try:
        # Unpacked beside its place and renamed, so that what stands there is whole.
        with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as temporary:
            safe_unpack(archive, Path(temporary), max_bytes=4 * 2**30, max_members=100_000, max_ratio=10)
            target.parent.mkdir(exist_ok=True)
            (Path(temporary) / "VOCdevkit" / target.name).replace(target)
    except OSError as error:
        raise DataError(f"cannot unpack {archive} into {target}: {error}") from error
