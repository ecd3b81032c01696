"""What a folder without a recipe seems to be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segzoo.data.doctor.guess import guess_section
from segzoo.errors import DataError, MissingDataError
from segzoo.recipe.data import CamvidData, FolderData, VocData

VOC = Path(__file__).parents[3] / "shared" / "data" / "voc_sample"


def make(root: Path, masks: list[Image.Image], *, image: str = "images", mask: str = "masks") -> Path:
    """Write masks, and an image for each."""
    for number, picture in enumerate(masks):
        for folder, content in ((image, Image.new("RGB", picture.size, (number, 9, 9))), (mask, picture)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            content.save(root / folder / f"{number}.png")
    return root


def grey(*values: int) -> Image.Image:
    """Return a mask of one row."""
    return Image.fromarray(np.array([values], np.uint8))


def paletted(*values: int) -> Image.Image:
    """Return a mask of one row of indices."""
    image = grey(*values).convert("P")
    image.putdata(values)
    return image


def coloured(*values: tuple[int, int, int]) -> Image.Image:
    """Return a mask of one row of colours."""
    return Image.fromarray(np.array([values], np.uint8))


def folder(root: Path) -> FolderData:
    """Return the section of a folder that is not VOC's."""
    section = guess_section(root).section
    assert isinstance(section, FolderData)
    return section


def names(section: FolderData) -> list[str]:
    """Return the names of the classes."""
    return [entry.name for entry in section.classes]


MODES: dict[str, tuple[Callable[[], list[Image.Image]], str, list[str]]] = {
    "grey": (lambda: [grey(0, 1, 255), grey(2, 2, 2)], "index", ["class_0", "class_1", "class_2"]),
    "one label": (lambda: [grey(0, 0)], "index", ["class_0", "class_1"]),
    "palette": (lambda: [paletted(0, 3), paletted(1, 1)], "palette", ["class_0", "class_1", "class_2", "class_3"]),
    "palette and grey": (lambda: [paletted(0, 1), grey(1, 1)], "index", ["class_0", "class_1"]),
    "black and white": (lambda: [grey(0, 255), grey(0, 0)], "binary", ["background", "foreground"]),
    "black and white in colour": (
        lambda: [coloured((0, 0, 0), (255, 255, 255))],
        "binary",
        ["background", "foreground"],
    ),
    "colours": (lambda: [coloured((0, 0, 0), (0, 128, 9))], "rgb", ["color_0_0_0", "color_0_128_9"]),
    "one colour mask": (
        lambda: [grey(0, 1), coloured((0, 0, 9), (0, 9, 0)), grey(1, 1)],
        "index",
        ["class_0", "class_1"],
    ),
    "one grey mask": (
        lambda: [coloured((0, 0, 9), (0, 9, 0)), coloured((0, 0, 9), (0, 9, 0)), grey(1, 1)],
        "rgb",
        ["color_0_0_9", "color_0_9_0"],
    ),
}


@pytest.mark.parametrize("case", MODES)
def test_mode_and_classes_are_those_of_most_masks(tmp_path: Path, case: str) -> None:
    """The masks' own form decides how they are read; the classes are the labels or colours in them."""
    masks, mode, classes = MODES[case]
    section = folder(make(tmp_path, masks()))
    assert (section.mask_mode, names(section)) == (mode, classes)


def test_slips_are_no_classes(tmp_path: Path) -> None:
    """A label far off that one mask of many holds stays outside the classes; one that many hold is to be ignored."""
    usual = [grey(0, 1, 200)] * 11
    section = folder(make(tmp_path / "labels", [*usual, grey(0, 1, 99)]))
    assert names(section) == ["class_0", "class_1"]
    assert section.ignore_labels == (200,)
    many = [coloured((0, 0, 9), (0, 9, 0))] * 11
    section = folder(make(tmp_path / "colors", [*many, coloured((0, 0, 9), (1, 2, 3))]))
    assert names(section) == ["color_0_0_9", "color_0_9_0"]


def test_gaps_between_labels_are_classes(tmp_path: Path) -> None:
    """A class that happens not to occur keeps the labels above it where they are."""
    assert len(folder(make(tmp_path, [grey(0, 1, 4), grey(0, 7)])).classes) == 8


def test_labels_are_counted_by_masks(tmp_path: Path) -> None:
    """Every label and colour is listed with the number of masks that hold it."""
    guess = guess_section(make(tmp_path, [grey(0, 1, 255), grey(0, 0, 0), coloured((1, 2, 3))]))
    assert guess.labels == {"0": 2, "1": 1, "255": 1, "1, 2, 3": 1}


def test_split_folders_become_splits(tmp_path: Path) -> None:
    """Splits are checked under their folders' names and proposed under those that recipes use."""
    for split in ("training", "valid", "other"):
        make(tmp_path / split, [grey(0, 1)])
    guess = guess_section(tmp_path)
    assert guess.section.splits == {"other": "other", "training": "training", "valid": "valid"}
    assert guess.proposal["splits"] == {"other": "other", "train": "training", "val": "valid"}
    assert guess.proposal["format"] == "folder"


@pytest.mark.parametrize("inside", ["", "val"])
def test_without_a_training_split_fractions_are_proposed(tmp_path: Path, inside: str) -> None:
    """One folder of images is dealt out."""
    make(tmp_path / inside, [grey(0, 1)])
    guess = guess_section(tmp_path)
    assert guess.proposal["splits"] == {"train": 0.8, "val": 0.2}
    assert guess.section.splits == ({"val": "val"} if inside else {"all": 1.0})


def test_first_of_several_strange_splits_is_trained_on(tmp_path: Path) -> None:
    """A recipe needs a split to train on, whatever its folder is called."""
    for split in ("fold_a", "fold_b"):
        make(tmp_path / split, [grey(0, 1)])
    assert guess_section(tmp_path).proposal["splits"] == {"train": "fold_a", "fold_b": "fold_b"}


@pytest.mark.parametrize("inside", ["", "VOCdevkit/VOC2007"])
def test_voc_is_known_by_its_lists(tmp_path: Path, inside: str) -> None:
    """VOC's layout is read as the format voc, of the year that its folder tells."""
    lists = tmp_path / inside / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "trainval", "val"):
        (lists / f"{split}.txt").write_text("a\n")
    section = guess_section(tmp_path).section
    assert isinstance(section, VocData)
    assert section.year == ("2007" if inside else "2012")
    assert section.splits == {"train": "train", "val": "val"}


def test_camvid_as_it_is_distributed_is_known_by_its_folders(tmp_path: Path) -> None:
    """CamVid's own folders are read as the format camvid, whole, and fractions are proposed."""
    for name in ("701_StillsRaw_full", "LabeledApproved_full"):
        (tmp_path / name).mkdir()
    guess = guess_section(tmp_path)
    assert guess.section == CamvidData(root=str(tmp_path), splits={"all": 1.0})
    assert guess.proposal == {"format": "camvid", "root": str(tmp_path), "splits": {"train": 0.8, "val": 0.2}}


@pytest.mark.parametrize("inside", ["", "train"])
def test_folders_that_no_recipe_could_name_are_refused(tmp_path: Path, inside: str) -> None:
    """A root or a split whose name is not UTF-8 is told by its name."""
    strange = os.fsdecode(b"b\xe9d")
    root = tmp_path / "data" if inside else tmp_path / strange
    for split in ("train", strange if inside else "val"):
        make(root / split, [grey(0, 1)])
    with pytest.raises(DataError, match=r"b\\xe9d is not UTF-8, and no recipe could hold it; rename the folder"):
        guess_section(root)


@pytest.mark.skipif(not VOC.is_dir(), reason="needs the VOC sample beside the repository")
def test_real_palette_masks_are_told_as_such(tmp_path: Path) -> None:
    """VOC's own files in plain folders are palette masks of 21 classes at most, borders apart."""
    for source, target in (("JPEGImages", "images"), ("SegmentationClass", "masks")):
        shutil.copytree(VOC / source, tmp_path / target)
    section = folder(tmp_path)
    assert section.mask_mode == "palette"
    assert len(section.classes) <= 21


def test_unreadable_masks_say_nothing(tmp_path: Path) -> None:
    """What cannot be read is left to the check, and does not stop the look at the others."""
    make(tmp_path, [grey(0, 1), grey(0, 2), grey(0, 3)])
    (tmp_path / "masks/1.png").write_bytes(b"x")
    assert guess_section(tmp_path).labels == {"0": 2, "1": 1, "3": 1}


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda _: None, MissingDataError, "there is no folder"),
        (lambda root: root.mkdir(), DataError, "laid out in no known way: expected <root>/<split>/images"),
        (lambda root: (root / "ImageSets/Segmentation").mkdir(parents=True), DataError, "has no list of a split"),
    ],
    ids=["missing", "empty", "no lists"],
)
def test_what_is_no_data_is_refused(
    tmp_path: Path, act: Callable[[Path], object], error: type[DataError], message: str
) -> None:
    """A folder that cannot be told is refused with what was expected."""
    act(tmp_path / "data")
    with pytest.raises(error, match=message):
        guess_section(tmp_path / "data")


def test_progress_counts_every_mask(tmp_path: Path) -> None:
    """The bar is told the number of masks, and moves once for each."""
    told: list[object] = []

    def watch(task: str, total: int) -> Callable[[], None]:
        told.append((task, total))
        return lambda: told.append("one")

    guess_section(make(tmp_path, [grey(0, 1)] * 2), watch=watch)
    assert told == [("looking at masks", 2), "one", "one"]
