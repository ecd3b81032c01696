"""Oxford-IIIT Pets: trimaps of 37 breeds as three classes (https://www.robots.ox.ac.uk/~vgg/data/pets/)."""

from __future__ import annotations

from pathlib import Path

from segzoo.data.classes import classes_of
from segzoo.data.findings import Finding
from segzoo.data.formats.archives import fetch_unpacked
from segzoo.data.formats.files import PairSource
from segzoo.data.formats.pairs import Found, deal, join, pair_listed
from segzoo.errors import DataError, MissingDataError, did_you_mean
from segzoo.recipe.data import OxfordPetsData

ARCHIVES = {
    "images": (
        "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz",
        "5c4f3ee8e5d25df40f4fd59a7f44e54c",
    ),
    "annotations": (
        "https://thor.robots.ox.ac.uk/~vgg/data/pets/annotations.tar.gz",
        "95a8c909bbe2e81eed6a22bccdf3f68f",
    ),
}
"""Address and MD5 of each folder's archive."""

SPLITS = ("trainval", "test")

NO_LABEL = 254
LABELS = (NO_LABEL, 0, 1, 2)
"""Trimaps hold 1 for the pet, 2 for the background and 3 for the border; 0, which is none of them, is no class."""


def list_oxford_pets(data: OxfordPetsData, *, seed: int, in_channels: int) -> tuple[PairSource, tuple[Finding, ...]]:
    """Find the files of an ``oxford_pets`` section, fetching them first if it asks for that.

    Raises:
        DataError: If the data is missing or has no such split.
        DownloadError: If the data could not be fetched.
    """
    classes = classes_of(data)
    root = Path(data.root)
    if data.download:
        for name, (url, md5) in ARCHIVES.items():
            fetch_unpacked(url, md5, root=root, inside=name, target=root / name)
    missing = [root / name for name in ARCHIVES if not (root / name).is_dir()]
    if missing:
        raise MissingDataError(
            f"no Oxford-IIIT Pets in {root} (data.root, relative to the current directory): "
            f"{' and '.join(map(str, missing))} missing; data.download true fetches them"
        )
    splits, findings = deal(
        data.splits, lambda split: _listed(root, split), lambda: join(_listed(root, name) for name in SPLITS), seed=seed
    )
    source = PairSource(
        classes,
        data.ignore_index,
        splits,
        "index",
        data.ignore_labels,
        in_channels=in_channels,
        labels=LABELS,
    )
    return source, findings


def _listed(root: Path, split: str) -> Found:
    if split not in SPLITS:
        raise DataError(
            f"Oxford-IIIT Pets has no split {split!r}; it has {' and '.join(SPLITS)}.{did_you_mean(split, SPLITS)}"
        )
    path = root / "annotations" / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list of split {split!r}, {path}: {error}") from error
    # A line is a name and three numbers; some lines are comments.
    names = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    return pair_listed(
        names,
        lambda name: root / "images" / f"{name}.jpg",
        lambda name: root / "annotations" / "trimaps" / f"{name}.png",
    )
