"""Oxford-IIIT Pets: lists, trimaps, and the two archives."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path

import pytest
from numpy.typing import ArrayLike

from segzoo.data.formats import oxford_pets
from segzoo.data.opening import list_source, open_source
from segzoo.data.scan import scan
from segzoo.errors import DataError, DownloadError, MissingDataError
from segzoo.recipe.data import OxfordPetsData

WritePair = Callable[[Path, Path, ArrayLike], None]
TRIMAP = [[1, 2, 3, 3], [2, 2, 1, 1]]
LISTS = {"trainval": ["Abyssinian_1", "beagle_2"], "test": ["pug_3"]}


@pytest.fixture
def pets(tmp_path: Path, write_pair: WritePair) -> Path:
    """Return a root as the archives unpack into it."""
    root = tmp_path / "pets"
    for split, names in LISTS.items():
        for name in names:
            write_pair(root / f"images/{name}.jpg", root / f"annotations/trimaps/{name}.png", TRIMAP)
        lines = [f"{name} 1 1 1" for name in names]
        (root / f"annotations/{split}.txt").write_text("#Image CLASS-ID SPECIES BREED ID\n" + "\n".join(lines) + "\n")
    return root


def names(source: object) -> dict[str, list[str]]:
    """Return the samples' names by split."""
    return {split: [sample.name for sample in samples] for split, samples in source.splits.items()}  # type: ignore[attr-defined]


def test_trimaps_become_labels(pets: Path) -> None:
    """The lists decide on the splits; pet, background and border are 0, 1 and 2."""
    source = open_source(OxfordPetsData(root=str(pets)), seed=0)
    assert names(source) == {"train": LISTS["trainval"], "val": LISTS["test"]}
    _, mask = source.read(source.splits["train"][0])
    assert mask.tolist() == [[0, 1, 2, 2], [1, 1, 0, 0]]


def test_other_values_are_no_class(pets: Path, write_pair: WritePair) -> None:
    """A mask of 0 and 1 is none of these trimaps: its 0 is told, not ignored."""
    write_pair(pets / "images/pug_3.jpg", pets / "annotations/trimaps/pug_3.png", [[0, 1, 4]])
    source = open_source(OxfordPetsData(root=str(pets)), seed=0)
    with pytest.raises(DataError, match=r"pug_3\.png: labels outside the classes 0 to 2: 4, 254"):
        scan(source, ["val"], num_classes=3)


def test_fractions_are_drawn_from_both_lists(pets: Path) -> None:
    """All annotated images are dealt out."""
    source = open_source(OxfordPetsData(root=str(pets), splits={"train": 0.67, "val": 0.33}), seed=0)
    assert sorted(chain.from_iterable(names(source).values())) == ["Abyssinian_1", "beagle_2", "pug_3"]


def test_listed_files_that_are_missing_are_findings(pets: Path) -> None:
    """An image without its trimap is told, and the rest can be used."""
    (pets / "annotations/trimaps/beagle_2.png").unlink()
    source, findings = list_source(OxfordPetsData(root=str(pets)), seed=0)
    assert names(source)["train"] == ["Abyssinian_1"]
    assert [(finding.kind, Path(finding.file).name) for finding in findings] == [("missing_mask", "beagle_2.png")]


def test_wrong_split_and_missing_folder(pets: Path, tmp_path: Path) -> None:
    """Each is told with what there is, and with the way to get it."""
    with pytest.raises(DataError, match=r"no split 'tst'; it has trainval and test. Did you mean 'test'"):
        open_source(OxfordPetsData(root=str(pets), splits={"train": "trainval", "val": "tst"}), seed=0)
    with pytest.raises(MissingDataError, match=r"no Oxford-IIIT Pets in .*download true fetches them"):
        open_source(OxfordPetsData(root=str(tmp_path / "none")), seed=0)
    (pets / "annotations/test.txt").unlink()
    with pytest.raises(DataError, match=r"cannot read the list of split 'test', .*test\.txt"):
        open_source(OxfordPetsData(root=str(pets)), seed=0)


def test_download(
    pets: Path, tmp_path: Path, serve: Callable[[Path], AbstractContextManager[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both archives are fetched, checked and unpacked; one that was changed is refused."""
    web = tmp_path / "web"
    web.mkdir()
    archives = {}
    with serve(web) as address:
        for name in ("images", "annotations"):
            with tarfile.open(web / f"{name}.tar.gz", "w:gz") as file:
                file.add(pets / name, name)
            digest = hashlib.md5((web / f"{name}.tar.gz").read_bytes()).hexdigest()
            archives[name] = (f"{address}/{name}.tar.gz", digest)
        monkeypatch.setattr(oxford_pets, "ARCHIVES", archives)
        data = OxfordPetsData(root=str(tmp_path / "fetched"), download=True)
        assert names(open_source(data, seed=0)) == {"train": LISTS["trainval"], "val": LISTS["test"]}

        (web / "annotations.tar.gz").write_bytes(b"other")
        with pytest.raises(DownloadError, match=r"annotations\.tar\.gz"):
            open_source(OxfordPetsData(root=str(tmp_path / "again"), download=True), seed=0)
    assert not (tmp_path / "again" / "annotations").exists()
