"""Folders of images and masks are paired by name, and what has no partner is told."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segzoo.data.opening import open_source
from segzoo.errors import DataError
from segzoo.recipe.data import CamvidData, ClassEntry, FolderData

CAMVID = Path(__file__).parents[3] / ".." / "shared" / "data" / "camvid"
CLASSES = (ClassEntry(name="a"), ClassEntry(name="b"))


def write_pairs(images: Path, masks: Path, names: list[str], label: int = 1) -> None:
    """Write black images with masks of one label."""
    for name in names:
        for folder, pixels in ((images, np.zeros((6, 8, 3))), (masks, np.full((6, 8), label))):
            path = folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)


def write_split(root: Path, split: str, names: list[str], label: int = 1) -> None:
    """Write one split in the default layout."""
    write_pairs(root / split / "images", root / split / "masks", names, label)


def folder(root: Path, **keys: object) -> FolderData:
    """Return a section for a folder of two classes."""
    document = {"root": str(root), "classes": [{"name": "a"}, {"name": "b"}], **keys}
    return FolderData.model_validate_json(json.dumps(document))


def test_official_splits(tmp_path: Path) -> None:
    """Each split reads its own folder, sorted, subfolders included; other files are no samples."""
    write_split(tmp_path, "train", ["b", "a", "city/c"])
    write_split(tmp_path, "val", ["a"])
    (tmp_path / "train/images/notes.txt").write_text("x")
    (tmp_path / "train/images/._a.png").write_text("x")
    source = open_source(folder(tmp_path), seed=0)
    names = {split: [sample.name for sample in samples] for split, samples in source.splits.items()}
    assert names == {"train": ["a", "b", "city/c"], "val": ["a"]}
    image, mask = source.read(source.splits["train"][2])
    assert (image.shape, mask.shape, mask.max()) == ((6, 8, 3), (6, 8), 1)
    assert pickle.loads(pickle.dumps(source)) == source


def test_fractions_of_all_splits(tmp_path: Path) -> None:
    """Fractions are drawn from the union of the folders, and names tell where a file lies."""
    write_split(tmp_path, "one", ["a", "b"])
    write_split(tmp_path, "two", ["a", "b"])
    source = open_source(folder(tmp_path, splits={"train": 0.75, "val": 0.25}), seed=0)
    assert [len(samples) for samples in source.splits.values()] == [3, 1]
    names = sorted(sample.name for samples in source.splits.values() for sample in samples)
    assert names == ["one/a", "one/b", "two/a", "two/b"]


@pytest.mark.parametrize("place", ["inside", "absolute", "current"])
def test_images_and_masks_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Folders that the recipe names lie in the root, anywhere, or where the command runs."""
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "set/photos", tmp_path / "set/labels", ["a", "b", "c", "d"])
    prefix = {"inside": "", "absolute": f"{tmp_path}/set/", "current": "set/"}[place]
    data = folder(Path("set"), images=f"{prefix}photos", masks=f"{prefix}labels", splits={"train": 0.5, "val": 0.5})
    assert [len(samples) for samples in open_source(data, seed=0).splits.values()] == [2, 2]


INDICES = np.array([[0, 1], [1, 0]], np.uint8)
COLORS = np.array([(10, 20, 30), (250, 0, 0)], np.uint8)


def palette_image() -> Image.Image:
    """Return a mask with a palette of other colours than the classes'."""
    mask = Image.fromarray(INDICES)
    mask.putpalette([200, 200, 200, 9, 9, 9])
    return mask


@pytest.mark.parametrize(
    ("mode", "mask"),
    [
        ("index", Image.fromarray(INDICES)),
        ("index", palette_image()),
        ("palette", palette_image()),
        ("rgb", Image.fromarray(COLORS[INDICES])),
        ("binary", Image.fromarray(INDICES * 255)),
    ],
    ids=["grey", "palette as indices", "palette", "rgb", "binary"],
)
def test_modes_of_masks(tmp_path: Path, mode: str, mask: Image.Image) -> None:
    """The same labels from every kind of mask, with the names and colours of the recipe."""
    for kind, image in (("images", Image.new("RGB", (2, 2))), ("masks", mask)):
        (tmp_path / "train" / kind).mkdir(parents=True)
        image.save(tmp_path / "train" / kind / "a.png")
    classes = [{"name": name, "color": color.tolist()} for name, color in zip("ab", COLORS, strict=True)]
    source = open_source(folder(tmp_path, mask_mode=mode, classes=classes, splits={"train": "train"}), seed=0)
    np.testing.assert_array_equal(source.read(source.splits["train"][0])[1], INDICES)
    assert [(entry.name, entry.color) for entry in source.classes] == [("a", (10, 20, 30)), ("b", (250, 0, 0))]


def test_files_without_partner_are_named(tmp_path: Path) -> None:
    """Images without mask and masks without image are listed together by path."""
    write_split(tmp_path, "train", ["a", "b", "c"])
    (tmp_path / "train/masks/a.png").unlink()
    (tmp_path / "train/images/c.png").unlink()
    with pytest.raises(DataError, match="2 files are no pair of an image and a mask") as caught:
        open_source(folder(tmp_path, splits={"train": "train"}), seed=0)
    assert f"{tmp_path}/train/images/a.png: no mask in" in str(caught.value)
    assert f"{tmp_path}/train/masks/c.png: no image in" in str(caught.value)


def test_masks_named_otherwise_are_told_in_one_line(tmp_path: Path) -> None:
    """The last line says what their names share."""
    write_split(tmp_path, "train", ["a", "b", "c"])
    for path in (tmp_path / "train/masks").iterdir():
        path.rename(path.with_stem(f"{path.stem}_mask"))
    with pytest.raises(DataError, match="6 files are no pair") as caught:
        open_source(folder(tmp_path, splits={"train": "train"}), seed=0)
    assert "all 3 masks without an image end in '_mask'" in str(caught.value).splitlines()[-1]


def test_many_missing_masks_are_counted(tmp_path: Path) -> None:
    """Twenty files are listed, the rest is a number."""
    write_split(tmp_path, "train", [f"{number:02}" for number in range(30)])
    for path in (tmp_path / "train/masks").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="30 files") as caught:
        open_source(folder(tmp_path, splits={"train": "train"}), seed=0)
    assert str(caught.value).count("no mask in") == 20
    assert str(caught.value).endswith("and 10 more")


def test_one_name_with_two_suffixes_is_refused(tmp_path: Path) -> None:
    """Which of two images a mask belongs to is not guessed."""
    write_split(tmp_path, "train", ["a"])
    Image.new("RGB", (8, 6)).save(tmp_path / "train/images/a.jpg")
    with pytest.raises(DataError, match=r"a\.png: a\.jpg has the same name"):
        open_source(folder(tmp_path, splits={"train": "train"}), seed=0)


def test_missing_root_says_what_is_expected(tmp_path: Path) -> None:
    """A data folder that is not there is named with the layout it should have."""
    with pytest.raises(DataError, match=r"data folder .*nowhere is missing.*<split>/images and <split>/masks"):
        open_source(folder(tmp_path / "nowhere"), seed=0)
    with pytest.raises(DataError, match="camvid is missing"):
        open_source(CamvidData(root=str(tmp_path / "camvid")), seed=0)


def test_missing_split_is_named(tmp_path: Path) -> None:
    """A split without folder is told with those that are there."""
    write_split(tmp_path, "valid", ["a"])
    with pytest.raises(DataError, match=r"has no split 'val': .*val/images.*found: valid\. Did you mean 'valid'"):
        open_source(folder(tmp_path, splits={"train": "valid", "val": "val"}), seed=0)


def test_root_without_splits_and_folders_that_are_missing(tmp_path: Path) -> None:
    """Fractions need some folder to draw from."""
    fractions = {"train": 0.5, "val": 0.5}
    with pytest.raises(DataError, match="has no folder with images and masks"):
        open_source(folder(tmp_path, splits=fractions), seed=0)
    with pytest.raises(DataError, match=r"the folder 'pics' is missing: looked for .*/pics and pics"):
        open_source(folder(tmp_path, images="pics", masks="masks", splits=fractions), seed=0)


def test_empty_split_is_refused(tmp_path: Path) -> None:
    """Folders without files are no split."""
    write_split(tmp_path, "train", ["a"])
    for kind in ("images", "masks"):
        (tmp_path / "val" / kind).mkdir(parents=True)
    with pytest.raises(DataError, match="no samples in split 'val'"):
        open_source(folder(tmp_path), seed=0)


def test_ignored_labels_become_the_ignored_index(tmp_path: Path) -> None:
    """Labels that a recipe ignores are mapped when a mask is read, and are part of the cache's key."""
    write_split(tmp_path, "train", ["a"], label=7)
    data = folder(tmp_path, splits={"train": "train"}, ignore_labels=[7, 9], ignore_index=200)
    source = open_source(data, seed=0)
    assert np.unique(source.read(source.splits["train"][0])[1]).tolist() == [200]
    plain = open_source(folder(tmp_path, splits={"train": "train"}, ignore_index=200), seed=0)
    assert np.unique(plain.read(plain.splits["train"][0])[1]).tolist() == [7]
    assert plain.settings != source.settings


@pytest.mark.parametrize(("count", "expected"), [(11, 255), (12, 11)])
def test_void_of_camvid(tmp_path: Path, count: int, expected: int) -> None:
    """Label 11 is ignored unless the recipe makes it a class."""
    write_split(tmp_path, "train", ["a"], label=11)
    classes = tuple(ClassEntry(name=f"class{number}") for number in range(count))
    source = open_source(CamvidData(root=str(tmp_path), classes=classes, splits={"train": "train"}), seed=0)
    assert np.unique(source.read(source.splits["train"][0])[1]).tolist() == [expected]


def test_real_camvid() -> None:
    """The data set as it comes: 367 and 101 samples, 11 classes, void ignored."""
    if not CAMVID.is_dir():
        pytest.skip("no CamVid beside the repository")
    source = open_source(CamvidData(root=str(CAMVID)), seed=0)
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 367, "val": 101}
    image, mask = source.read(source.splits["train"][0])
    assert (image.shape, mask.shape) == ((360, 480, 3), (360, 480))
    assert set(np.unique(mask)) <= {*range(11), 255}
