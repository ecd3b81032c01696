"""A scan finds every fault before training, counts labels, and does its work once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segzoo.data.opening import open_source
from segzoo.data.scan import ScanReport, scan
from segzoo.data.source import Pixels, Sample, Source
from segzoo.errors import DataError
from segzoo.files import sha256_bytes
from segzoo.recipe.data import CamvidData, ClassEntry, FolderData, ShapesData

CAMVID = Path(__file__).parents[2] / ".." / "shared" / "data" / "camvid"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the tests' records out of the user's cache."""
    monkeypatch.setenv("SEGZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@dataclass
class Scenes:
    """A source of given masks, on black images; it counts how often it is read."""

    masks: Mapping[str, list[Pixels]]
    settings: str = "{}"
    ignore_index: int = 255
    classes: tuple[ClassEntry, ...] = ()
    reads: list[str] = field(default_factory=list)

    @property
    def splits(self) -> dict[str, tuple[Sample, ...]]:
        """One sample for each mask."""
        return {
            split: tuple(Sample(f"{split}{number}", None, None, number) for number in range(len(masks)))
            for split, masks in self.masks.items()
        }

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Return a black image with the mask."""
        self.reads.append(sample.name)
        mask = self.masks[sample.name.rstrip("0123456789")][sample.number]
        return np.zeros((*mask.shape, 3), np.uint8), mask


def make_folder(root: Path, count: int = 3) -> FolderData:
    """Write a data set of two classes in one split and return the section that reads it."""
    for kind in ("images", "masks"):
        (root / "train" / kind).mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = random.integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(pixels).save(root / "train" / "images" / f"{number:02}.jpg")
        Image.fromarray(pixels[..., 0] // 128).save(root / "train" / "masks" / f"{number:02}.png")
    classes = (ClassEntry(name="a"), ClassEntry(name="b"))
    return FolderData(root=str(root), classes=classes, splits={"train": "train"})


def scan_folder(data: FolderData) -> ScanReport:
    """Open and scan the split of a folder."""
    return scan(open_source(data, seed=0), ["train"], num_classes=2)


def save_mask(path: Path, pixels: object) -> None:
    """Replace a mask by other pixels."""
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


FAULTS: dict[str, Callable[[Path, Path], object]] = {
    "truncated image": lambda image, _: image.write_bytes(image.read_bytes()[:-200]),
    "empty image": lambda image, _: image.write_bytes(b""),
    "zero bytes": lambda image, _: image.write_bytes(bytes(1000)),
    "empty mask": lambda _, mask: mask.write_bytes(b""),
    "mask of another size": lambda _, mask: save_mask(mask, np.zeros((12, 16))),
    "label out of range": lambda _, mask: save_mask(mask, np.full((24, 32), 2)),
    "colour mask": lambda _, mask: save_mask(mask, np.zeros((24, 32, 3))),
    "text": lambda image, _: image.write_text("not an image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(tmp_path: Path, fault: str) -> None:
    """Each planted fault alone is found, and named by the file that has it."""
    data = make_folder(tmp_path / "data")
    image, mask = (tmp_path / "data" / "train" / name for name in ("images/01.jpg", "masks/01.png"))
    before = image.read_bytes()
    FAULTS[fault](image, mask)
    culprit = image if image.read_bytes() != before else mask
    with pytest.raises(DataError, match="1 of 3 samples cannot be used") as caught:
        scan_folder(data)
    assert str(culprit) in str(caught.value)


def test_all_faults_are_in_one_message(tmp_path: Path) -> None:
    """Faults of all kinds are listed together, each by its file."""
    data = make_folder(tmp_path / "data", count=len(FAULTS) + 1)
    for number, plant in enumerate(FAULTS.values()):
        plant(tmp_path / f"data/train/images/{number:02}.jpg", tmp_path / f"data/train/masks/{number:02}.png")
    with pytest.raises(DataError) as caught:
        scan_folder(data)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{len(FAULTS)} of {len(FAULTS) + 1} samples cannot be used:"
    assert len(lines) == len(FAULTS) + 1
    assert all(f"{number:02}." in "".join(lines) for number in range(len(FAULTS)))


def test_blank_and_repeated_images_can_be_trained_on(tmp_path: Path) -> None:
    """What the data doctor advises against is no reason to refuse a run."""
    data = make_folder(tmp_path / "data")
    for name in ("00", "01"):
        save_mask(tmp_path / f"data/train/images/{name}.jpg", np.zeros((24, 32, 3)))
    assert scan_folder(data).images == {"train": 3}


def test_record_without_its_image_is_read_again(tmp_path: Path, cache: Path) -> None:
    """Records of an earlier version are not taken for those of this one."""
    data = make_folder(tmp_path / "data")
    report = scan_folder(data)
    (file,) = (cache / "scan").iterdir()
    body = json.dumps({name: record[:4] for name, record in json.loads(file.read_text().split("\n")[1]).items()})
    file.write_text(f"{sha256_bytes(body.encode())}\n{body}")
    assert scan_folder(data) == report


def test_file_that_vanishes_is_a_fault(tmp_path: Path) -> None:
    """A file that goes between finding and scanning is named too."""
    source = open_source(make_folder(tmp_path / "data"), seed=0)
    (tmp_path / "data/train/masks/01.png").unlink()
    with pytest.raises(DataError, match=r"01\.png"):
        scan(source, ["train"], num_classes=2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file_is_a_fault(tmp_path: Path) -> None:
    """A file that this user may not read is named."""
    data = make_folder(tmp_path / "data")
    (tmp_path / "data/train/images/01.jpg").chmod(0)
    with pytest.raises(DataError, match=r"01\.jpg"):
        scan_folder(data)


def test_message_lists_twenty_and_counts_the_rest() -> None:
    """A data set that is wrong throughout does not flood the terminal."""
    source = Scenes({"train": [np.full((2, 2), 7, np.uint8)] * 30})
    with pytest.raises(DataError) as caught:
        scan(source, ["train"], num_classes=3)
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[0] == "30 of 30 samples cannot be used:"
    assert "labels outside the classes 0 to 2: 7" in lines[1]
    assert lines[-1].strip() == "and 10 more"


def test_statistics_agree_with_counting_by_hand() -> None:
    """Pixels, ignored pixels and presence are per split, and the ignored label counts for no class."""
    source = Scenes(
        {
            "train": [np.array([[0, 0], [1, 255]], np.uint8), np.array([[0, 0], [0, 0]], np.uint8)],
            "val": [np.array([[2, 2, 255]], np.uint8)],
        }
    )
    report = scan(source, ["train", "val"], num_classes=3)
    assert report.images == {"train": 2, "val": 1}
    assert report.class_pixels == {"train": (6, 1, 0), "val": (0, 0, 2)}
    assert report.ignored_pixels == {"train": 1, "val": 1}
    assert report.class_presence == {"train": (7, 3, 0), "val": (0, 0, 2)}


def test_repeated_scan_reads_nothing_and_says_the_same() -> None:
    """What is known is not read again, and equal data of equal settings has an equal report."""
    source = Scenes({"train": [np.zeros((2, 2), np.uint8)] * 3})
    first = scan(source, ["train"], num_classes=2)
    assert len(source.reads) == 3
    assert scan(source, ["train"], num_classes=2) == first
    assert len(source.reads) == 3


@pytest.mark.parametrize("change", ["settings", "ignore_index", "num_classes"])
def test_other_settings_do_not_use_the_records(change: str) -> None:
    """Records hold for the settings they were made with: a label that was fine may now be a fault."""
    masks = {"train": [np.array([[0, 1, 200]], np.uint8)]}
    scan(Scenes(masks, ignore_index=200), ["train"], num_classes=2)
    source = Scenes(masks, settings="other" if change == "settings" else "{}", ignore_index=200)
    if change == "ignore_index":
        source.ignore_index = 255
        with pytest.raises(DataError, match="200"):
            scan(source, ["train"], num_classes=2)
    else:
        scan(source, ["train"], num_classes=3 if change == "num_classes" else 2)
    assert source.reads == ["train0"]


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    """A mask that is replaced after a clean scan is examined, and its fault found."""
    data = make_folder(tmp_path / "data")
    scan_folder(data)
    save_mask(tmp_path / "data/train/masks/01.png", np.full((24, 32), 9))
    with pytest.raises(DataError, match=r"01\.png.*labels outside the classes 0 to 1: 9"):
        scan_folder(data)


def test_fingerprint_is_of_content_not_of_place(tmp_path: Path) -> None:
    """The same files elsewhere have the same fingerprint, other files another."""
    first = scan_folder(make_folder(tmp_path / "one"))
    assert scan_folder(make_folder(tmp_path / "two")).fingerprint == first.fingerprint
    save_mask(tmp_path / "two/train/masks/01.png", np.zeros((24, 32)))
    changed = scan_folder(FolderData(**make_folder(tmp_path / "three").model_dump() | {"root": str(tmp_path / "two")}))
    assert changed.fingerprint != first.fingerprint


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"x\n{}", b"\xff\xfe"])
def test_damaged_cache_is_no_error(tmp_path: Path, cache: Path, damage: bytes) -> None:
    """A cache that cannot be trusted is made anew."""
    data = make_folder(tmp_path / "data")
    report = scan_folder(data)
    (file,) = (cache / "scan").iterdir()
    content = file.read_bytes()
    file.write_bytes(damage)
    assert scan_folder(data) == report
    assert file.read_bytes() == content


def test_flipped_digit_in_the_cache_is_noticed(tmp_path: Path, cache: Path) -> None:
    """A wrong number in the cache must not become a wrong class weight."""
    data = make_folder(tmp_path / "data")
    report = scan_folder(data)
    (file,) = (cache / "scan").iterdir()
    checksum, body = file.read_text().split("\n")
    changed = re.sub(r"\[\d+, \d+\]", "[1, 2]", body)
    assert changed != body
    file.write_text(f"{checksum}\n{changed}")
    assert scan_folder(data) == report


def test_unwritable_cache_is_no_error(cache: Path) -> None:
    """Where there is no place for a cache, the scan does its work each time."""
    cache.write_bytes(b"a file where the folder should be")
    source = Scenes({"train": [np.zeros((2, 2), np.uint8)]})
    assert scan(source, ["train"], num_classes=2) == scan(source, ["train"], num_classes=2)
    assert len(source.reads) == 2


def test_worker_count_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread and four give the same report."""
    source = open_source(make_folder(tmp_path / "data", count=8), seed=0)
    reports = []
    for workers in (1, 4):
        monkeypatch.setenv("SEGZOO_CACHE", str(tmp_path / f"cache{workers}"))
        reports.append(scan(source, ["train"], num_classes=2, workers=workers))
    assert reports[0] == reports[1]


def test_shapes_are_scanned_too() -> None:
    """Drawn scenes have statistics, and a fingerprint of their parameters and seed."""

    def report(seed: int, size: tuple[int, int] = (96, 96)) -> ScanReport:
        data = ShapesData(size=size, counts={"train": 4})
        return scan(open_source(data, seed=seed), ["train"], num_classes=5)

    first = report(0)
    assert first.images == {"train": 4}
    assert sum(first.class_pixels["train"]) + first.ignored_pixels["train"] == 4 * 96 * 96
    assert report(0) == first
    assert len({first.fingerprint, report(1).fingerprint, report(0, (64, 64)).fingerprint}) == 3


@pytest.mark.skipif(not CAMVID.is_dir(), reason="needs the CamVid sample beside the repository")
def test_camvid_is_clean_and_known_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real data set has no fault, every class occurs, and a second scan reads nothing."""
    source: Source = open_source(CamvidData(root=str(CAMVID)), seed=0)
    first = scan(source, ["train", "val"], num_classes=11)
    assert first.images == {"train": 367, "val": 101}
    assert min(first.class_pixels["train"]) > 0
    monkeypatch.setattr("segzoo.data.formats.files.read_image", lambda *_, **__: pytest.fail("read again"))
    assert scan(source, ["train", "val"], num_classes=11) == first
