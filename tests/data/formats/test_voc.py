"""PASCAL VOC is found in every layout it comes in, and fetched where a recipe says so."""

from __future__ import annotations

import functools
import hashlib
import http.server
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segzoo.data.classes import palette
from segzoo.data.formats import voc
from segzoo.data.opening import open_source
from segzoo.errors import DataError, DownloadError
from segzoo.recipe.data import VocData

SAMPLE = Path(__file__).parents[3] / ".." / "shared" / "data" / "voc_sample"
LISTS = {"train": ["2007_1", "2007_2"], "val": ["2007_3", "2007_4"]}


def write_voc(folder: Path) -> None:
    """Write a VOC folder of four images, each with an object of label 20 in a border of 255."""
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for split, names in {**LISTS, "trainval": LISTS["train"] + LISTS["val"]}.items():
        (folder / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
    mask = np.zeros((12, 16), np.uint8)
    mask[2:10, 2:10] = 255
    mask[3:9, 3:9] = 20
    for names in LISTS.values():
        for name in names:
            Image.new("RGB", (16, 12), (10, 200, 30)).save(folder / "JPEGImages" / f"{name}.jpg")
            image = Image.fromarray(mask).convert("P")
            image.putpalette(np.array(palette(256), np.uint8).tobytes())
            image.putdata(mask.ravel().tolist())
            image.save(folder / "SegmentationClass" / f"{name}.png")


@pytest.mark.parametrize("place", ["VOCdevkit/VOC2012", "VOC2012", "."])
def test_layouts(tmp_path: Path, place: str) -> None:
    """The root may hold the development kit, the year's folder, or be it."""
    write_voc(tmp_path / place)
    source = open_source(VocData(root=str(tmp_path)), seed=0)
    names = {split: [sample.name for sample in samples] for split, samples in source.splits.items()}
    assert names == LISTS
    image, mask = source.read(source.splits["val"][0])
    assert image.shape == (12, 16, 3)
    assert np.unique(mask).tolist() == [0, 20, 255]


def test_fractions_are_drawn_from_trainval(tmp_path: Path) -> None:
    """Halves and quarters of all labelled images; a test list without masks takes no part."""
    write_voc(tmp_path)
    (tmp_path / "ImageSets/Segmentation/test.txt").write_text("2008_9\n")
    data = VocData(root=str(tmp_path), splits={"train": 0.5, "val": 0.25, "test": 0.25})
    source = open_source(data, seed=0)
    assert [len(samples) for samples in source.splits.values()] == [2, 1, 1]
    assert len({sample.name for samples in source.splits.values() for sample in samples}) == 4


def test_border_becomes_the_ignored_index(tmp_path: Path) -> None:
    """The border's 255 follows a recipe that ignores another label."""
    write_voc(tmp_path)
    source = open_source(VocData(root=str(tmp_path), ignore_index=100), seed=0)
    assert np.unique(source.read(source.splits["train"][0])[1]).tolist() == [0, 20, 100]


def test_files_that_lists_name_must_exist(tmp_path: Path) -> None:
    """Listed images and masks that are missing are named by path."""
    write_voc(tmp_path)
    (tmp_path / "JPEGImages/2007_1.jpg").unlink()
    (tmp_path / "SegmentationClass/2007_2.png").unlink()
    with pytest.raises(DataError, match="2 files are no pair of an image and a mask") as caught:
        open_source(VocData(root=str(tmp_path)), seed=0)
    assert "2007_1.jpg: the file is missing" in str(caught.value)
    assert "2007_2.png: the file is missing" in str(caught.value)


def test_unknown_and_empty_splits(tmp_path: Path) -> None:
    """A list that is not there is told with those that are; an empty one is no split."""
    write_voc(tmp_path)
    with pytest.raises(DataError, match=r"no split 'vall'; .* train, trainval, val\. Did you mean 'val'"):
        open_source(VocData(root=str(tmp_path), splits={"train": "train", "val": "vall"}), seed=0)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("\n")
    with pytest.raises(DataError, match="no samples in split 'val'"):
        open_source(VocData(root=str(tmp_path)), seed=0)


def test_missing_data_says_how_to_get_it(tmp_path: Path) -> None:
    """Without download, the message says what is expected and which key fetches it."""
    with pytest.raises(DataError, match=r"no PASCAL VOC 2012 in .*VOCdevkit/VOC2012 .*data\.download true fetches it"):
        open_source(VocData(root=str(tmp_path / "voc")), seed=0)


def test_incomplete_data_is_not_fetched_over(tmp_path: Path) -> None:
    """A folder of that name without lists is in the way; what a person put there is not deleted."""
    (tmp_path / "VOCdevkit/VOC2012/JPEGImages").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no PASCAL VOC 2012 in .*; remove what is there, and it is fetched anew"):
        open_source(VocData(root=str(tmp_path), download=True), seed=0)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder with a small archive in place of the official one; yield the archive."""
    folder = tmp_path / "server"
    write_voc(folder / "VOCdevkit" / "VOC2012")
    archive = folder / "small.tar"
    with tarfile.open(archive, "w") as file:
        file.add(folder / "VOCdevkit", "VOCdevkit")
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        digest = hashlib.md5(archive.read_bytes()).hexdigest()
        address = f"http://127.0.0.1:{web.server_port}/small.tar"
        monkeypatch.setattr(voc, "ARCHIVES", {"2012": (address, digest)})
        yield archive
        web.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Answers without a log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_download(tmp_path: Path, server: Path) -> None:
    """What is missing is fetched and unpacked under its final name at once; the second time nothing is fetched."""
    data = VocData(root=str(tmp_path / "voc"), download=True)
    source = open_source(data, seed=0)
    assert len(source.splits["train"]) == 2
    assert {path.name for path in (tmp_path / "voc").iterdir() if path.is_dir()} == {"VOCdevkit"}
    server.unlink()
    (tmp_path / "voc" / "small.tar").unlink()
    assert open_source(data, seed=0).splits == source.splits


def test_archive_that_lies_there_is_used(tmp_path: Path, server: Path) -> None:
    """Without a network, the archive may be put into the root by hand."""
    (tmp_path / "voc").mkdir()
    server.replace(tmp_path / "voc" / "small.tar")
    assert len(open_source(VocData(root=str(tmp_path / "voc"), download=True), seed=0).splits["val"]) == 2


def test_changed_archive_is_refused(tmp_path: Path, server: Path) -> None:
    """An archive with another checksum leaves nothing behind that a later run could take for the data."""
    server.write_bytes(server.read_bytes() + b"x")
    with pytest.raises(DownloadError, match=r"small\.tar"):
        open_source(VocData(root=str(tmp_path / "voc"), download=True), seed=0)
    assert not (tmp_path / "voc" / "VOCdevkit").exists()


def test_real_sample() -> None:
    """Masks of the real data are read as indices, not as colours or grey values."""
    if not SAMPLE.is_dir():
        pytest.skip("no sample of PASCAL VOC beside the repository")
    source = open_source(VocData(root=str(SAMPLE), splits={"train": "train", "val": "val"}), seed=0)
    image, mask = source.read(source.splits["train"][0])
    assert image.shape[:2] == mask.shape == (338, 500)
    assert np.unique(mask).tolist() == [0, 5, 15, 255]
