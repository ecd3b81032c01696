"""One sample is looked at as a whole: what it holds, or why it cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segzoo.data.examine import Channel, Fault, Record, examine, read_samples
from segzoo.data.findings import Finding
from segzoo.data.formats.files import PairSource
from segzoo.data.source import Pixels, Sample
from segzoo.errors import DataError
from segzoo.recipe.data import ClassEntry

CLASSES = tuple(ClassEntry(name=name) for name in "abc")


def source(in_channels: int = 3) -> PairSource:
    """Return a source of three classes."""
    return PairSource(CLASSES, 255, {}, in_channels=in_channels)


def write(folder: Path, image: object, mask: object, name: str = "a") -> Sample:
    """Write a pair and return it as a sample."""
    paths = [folder / f"{name}_{kind}.png" for kind in ("image", "mask")]
    for path, pixels in zip(paths, (image, mask), strict=True):
        Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return Sample(name, *paths, 0)


def random(*shape: int) -> Pixels:
    """Return random bytes."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def record(found: Record | Fault) -> Record:
    """Return what must be a record."""
    assert isinstance(found, Record)
    return found


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_record_agrees_with_counting_by_hand(tmp_path: Path, channels: int) -> None:
    """Labels, ignored pixels, the size and each channel's values are those of the arrays."""
    image = random(5, 7, channels)
    mask = random(5, 7) % 3
    mask[0] = 255
    found = record(examine(source(channels), 3, write(tmp_path, image.squeeze(), mask)))
    assert found.pixels == [int((mask == label).sum()) for label in range(3)]
    assert found.ignored == 7
    assert found.size == [5, 7]
    values = image.reshape(-1, channels).astype(int)
    expected = [Channel(sum(column), sum(column**2), min(column), max(column)) for column in values.T]
    assert found.channels == expected


def test_checksums_tell_files_and_pictures_apart(tmp_path: Path) -> None:
    """The digest follows the bytes of both files, the picture what is seen of the image."""
    first = write(tmp_path, random(5, 7, 3), np.zeros((5, 7)))
    other = write(tmp_path, random(5, 7, 3), np.ones((5, 7)), name="b")
    turned = write(tmp_path, random(5, 7, 3).reshape(7, 5, 3), np.zeros((7, 5)), name="c")
    records = [record(examine(source(), 3, sample)) for sample in (first, other, turned)]
    assert len({found.digest for found in records}) == 3
    assert records[0].picture == records[1].picture != records[2].picture


@pytest.mark.parametrize(
    ("labels", "kind", "outside"),
    [
        ([0, 1, 7], "label_outside_classes", (7,)),
        ([0, 3, 4, 5, 6, 7, 8], "label_outside_classes", (3, 4, 5, 6, 7, 8)),
        ([0, 255, 0], "binary_mask", (255,)),
        ([0, 255, 1], "label_outside_classes", (255,)),
    ],
    ids=["one", "six", "binary", "not binary"],
)
def test_labels_outside_the_classes_are_named(
    tmp_path: Path, labels: list[int], kind: str, outside: tuple[int, ...]
) -> None:
    """The fault is the mask's, names up to five labels, and carries all of them."""
    sample = write(tmp_path, random(1, len(labels), 3), [labels])
    fault = examine(PairSource(CLASSES, 254, {}), 3, sample)
    assert isinstance(fault, Fault)
    assert (fault.finding.kind, fault.finding.file, fault.outside) == (kind, str(sample.mask), outside)
    if len(outside) > 5:
        assert "0 to 2: 3, 4, 5, 6, 7, …; see" in fault.finding.message


class Refusing(PairSource):
    """A source of a plugin that refuses with a plain error."""

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Refuse."""
        raise DataError(f"{sample.name} is not mine")


def test_plain_data_error_is_a_finding_of_the_image(tmp_path: Path) -> None:
    """A source need not know of findings."""
    sample = write(tmp_path, random(2, 2, 3), np.zeros((2, 2)))
    assert examine(Refusing(CLASSES, 255, {}), 3, sample) == Fault(
        Finding("unreadable", str(sample.image), "a is not mine")
    )


def test_file_that_vanished_is_a_finding(tmp_path: Path) -> None:
    """What goes between listing and reading is named."""
    sample = write(tmp_path, random(2, 2, 3), np.zeros((2, 2)))
    (tmp_path / "a_mask.png").unlink()
    fault = examine(source(), 3, sample)
    assert isinstance(fault, Fault)
    assert fault.finding == Finding("unreadable", str(sample.mask), "No such file or directory")


def test_no_fault_stops_the_others(tmp_path: Path) -> None:
    """Results come in the order of the samples, one for each."""
    samples = [write(tmp_path, random(2, 2, 3), np.full((2, 2), label), name=str(label)) for label in (0, 9, 1)]
    results = read_samples(source(), samples, num_classes=3, workers=2)
    assert [type(result) for result in results] == [Record, Fault, Record]
