"""What is half of a pair, and what is none, is told by kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from numpy.typing import ArrayLike

from segzoo.data.findings import Finding
from segzoo.data.formats.pairs import Found, deal, join, pair_folders, pair_listed
from segzoo.data.source import Sample
from segzoo.errors import DataError

WritePair = Callable[[Path, Path, ArrayLike], None]


@pytest.fixture
def folders(tmp_path: Path, write_pair: WritePair) -> tuple[Path, Path]:
    """Return two folders that hold the pairs ``a`` and ``b``."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("a", "b"):
        write_pair(images / f"{name}.png", masks / f"{name}.png", [[0]])
    return images, masks


def told(found: Found) -> list[tuple[str, str]]:
    """Return kind and file name of each finding."""
    return [(finding.kind, Path(finding.file).name) for finding in found.findings]


def names(found: Found) -> list[str]:
    """Return the samples' names."""
    return [sample.name for sample in found.samples]


def test_whole_pairs_are_samples_and_halves_are_findings(folders: tuple[Path, Path]) -> None:
    """One missing mask, one missing image: the rest can be used, numbered in order."""
    images, masks = folders
    (images / "a.png").rename(images / "c.png")
    found = pair_folders(images, masks)
    assert [(sample.name, sample.number) for sample in found.samples] == [("b", 0)]
    assert told(found) == [("missing_mask", "c.png"), ("missing_image", "a.png")]


def test_what_is_no_file_is_told_once(folders: tuple[Path, Path]) -> None:
    """Folders named like images, pipes and links that lead nowhere are unreadable, and their partners not alone."""
    images, masks = folders
    (images / "a.png").unlink()
    (images / "a.png").mkdir()
    (masks / "b.png").unlink()
    (masks / "b.png").symlink_to("b.png")
    os.mkfifo(images / "pipe.png")
    found = pair_folders(images, masks)
    assert names(found) == []
    assert told(found) == [("unreadable", "a.png"), ("unreadable", "pipe.png"), ("unreadable", "b.png")]
    reasons = [finding.message for finding in found.findings]
    assert reasons[:2] == ["it is a folder", "it is not a regular file"]
    assert reasons[2].startswith("a link that leads nowhere")


def test_links_to_folders_are_told(folders: tuple[Path, Path]) -> None:
    """A loop of links does not hang, and images behind a link are not lost in silence; links to files are files."""
    images, masks = folders
    (images / "loop").symlink_to(images)
    (images / "c.png").symlink_to(images / "a.png")
    (masks / "c.png").symlink_to(masks / "a.png")
    found = pair_folders(images, masks)
    assert names(found) == ["a", "b", "c"]
    assert told(found) == [("unreadable", "loop")]


def test_two_files_of_one_name(folders: tuple[Path, Path], write_pair: WritePair) -> None:
    """The second is told with the first."""
    images, masks = folders
    (images / "a.jpg").write_bytes(b"")
    found = pair_folders(images, masks)
    assert names(found) == ["a", "b"]
    assert told(found) == [("repeated_name", "a.png")]
    assert found.findings[0].message == "a.jpg has the same name"


def test_ends_and_prefix(tmp_path: Path, write_pair: WritePair) -> None:
    """Names are compared without their ends; files with other ends, hidden ones and hidden folders are none."""
    for name in ("x/a", ".hidden/b", "x/.c"):
        write_pair(tmp_path / "images" / f"{name}_i.png", tmp_path / "masks" / f"{name}_m.png", [[0]])
    write_pair(tmp_path / "images" / "d.png", tmp_path / "masks" / "x" / "a_color.png", [[0]])
    found = pair_folders(tmp_path / "images", tmp_path / "masks", prefix="all/", image_end="_i", mask_end="_m")
    assert (names(found), found.findings) == (["all/x/a"], ())


def test_listed_names(folders: tuple[Path, Path]) -> None:
    """Names are sorted and taken once; those without files are told, by the file that is missing."""
    images, masks = folders
    (masks / "c.png").mkdir()
    found = pair_listed(["b", "a", "b", "c"], lambda name: images / f"{name}.png", lambda name: masks / f"{name}.png")
    assert names(found) == ["a", "b"]
    assert told(found) == [("missing_image", "c.png"), ("unreadable", "c.png")]
    assert [finding.message for finding in found.findings] == [
        "the file is missing; a split lists it",
        "it is a folder",
    ]


def test_deal_tells_a_file_of_two_splits_once(folders: tuple[Path, Path]) -> None:
    """Official splits may overlap: what is wrong with a file is told once."""
    images, masks = folders
    (masks / "b.png").unlink()
    splits, findings = deal(
        {"train": "one", "val": "two"},
        lambda split: pair_folders(images, masks),
        lambda: pytest.fail("nothing is drawn"),
        seed=0,
    )
    assert {split: [sample.name for sample in samples] for split, samples in splits.items()} == {
        "train": ["a"],
        "val": ["a"],
    }
    assert [finding.kind for finding in findings] == ["missing_mask"]


def test_fractions_are_drawn_from_everything(folders: tuple[Path, Path]) -> None:
    """Whole pairs are dealt out; official splits are not asked for."""
    splits, findings = deal(
        {"train": 0.5, "val": 0.5},
        lambda split: pytest.fail("no official split is wanted"),
        lambda: pair_folders(*folders),
        seed=0,
    )
    assert sorted(sample.name for samples in splits.values() for sample in samples) == ["a", "b"]
    assert findings == ()


def test_fraction_of_nothing_is_told(folders: tuple[Path, Path]) -> None:
    """The message has the key, the fraction and the samples; where files are at fault those are told instead."""

    def draw() -> tuple[dict[str, tuple[Sample, ...]], tuple[Finding, ...]]:
        splits = {"train": 0.9, "val": 0.01}
        return deal(splits, lambda split: pytest.fail("none"), lambda: pair_folders(*folders), seed=0)

    with pytest.raises(DataError, match=r"^data\.splits\.val 0\.01: this fraction of 2 samples comes to none; give a"):
        draw()
    (folders[1] / "b.png").unlink()
    splits, findings = draw()
    assert splits["val"] == ()
    assert [finding.kind for finding in findings] == ["missing_mask"]


def test_join_keeps_the_order() -> None:
    """Samples and findings of several folders follow each other."""
    parts = [Found((Sample(name, None, None, 0),)) for name in "ba"]
    assert names(join(iter(parts))) == ["b", "a"]
