"""Names, order and colours of the known data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segzoo.data.classes import CAMVID, SHAPES, VOC, Color, classes_of, palette
from segzoo.errors import RecipeError
from segzoo.recipe.data import (
    Ade20kData,
    CamvidData,
    CityscapesData,
    ClassEntry,
    DataSection,
    FolderData,
    OxfordPetsData,
    ShapesData,
    VocData,
)

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


def test_palette_is_the_official_one() -> None:
    """Colours of some labels as the VOC development kit lists them; all 256 differ."""
    colors = palette(256)
    assert colors[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert (colors[15], colors[20], colors[255]) == ((192, 128, 128), (0, 64, 128), (224, 224, 192))
    assert len(set(colors)) == 256


def test_palette_is_that_of_voc_masks() -> None:
    """The palette inside VOC's own masks is ours."""
    masks = sorted((DATA / "voc_sample" / "SegmentationClass").glob("*.png"))
    if not masks:
        pytest.skip("no sample of PASCAL VOC beside the repository")
    with Image.open(masks[0]) as image:
        stored = np.array(image.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(stored[: len(VOC)], palette(len(VOC)))


def test_camvid_labels_lie_where_their_names_say() -> None:
    """In the masks of CamVid sky lies above buildings, they above cars, those above the road."""
    folder = DATA / "camvid" / "val" / "masks"
    if not folder.is_dir():
        pytest.skip("no CamVid beside the repository")
    masks = np.stack([np.array(Image.open(path)) for path in sorted(folder.glob("*.png"))[::10]])
    height = {name: np.nonzero(masks == label)[1].mean() for label, (name, _) in enumerate(CAMVID)}
    assert height["sky"] < height["building"] < height["car"] < height["road"]
    assert height["pavement"] > height["tree"]
    assert set(np.unique(masks)) <= {*range(len(CAMVID)), 11}


@pytest.mark.parametrize(
    ("data", "count", "last"),
    [
        (CamvidData(), 11, ClassEntry(name="bicyclist", color=(0, 128, 192))),
        (VocData(), 21, ClassEntry(name="tvmonitor", color=(0, 64, 128))),
        (ShapesData(num_classes=8), len(SHAPES), ClassEntry(name="ellipse", color=palette(8)[7])),
        (ShapesData(num_classes=2), 2, ClassEntry(name="disk", color=(128, 0, 0))),
    ],
)
def test_known_classes(data: CamvidData, count: int, last: ClassEntry) -> None:
    """Formats with known classes need none in the recipe, and all of them have a colour."""
    classes = classes_of(data)
    assert (len(classes), classes[-1]) == (count, last)


def test_classes_of_the_recipe_come_first() -> None:
    """A recipe's classes replace the known ones; missing colours come from the palette."""
    given = (ClassEntry(name="rest"), ClassEntry(name="road", color=(1, 2, 3)))
    for data in (
        CamvidData(classes=given),
        VocData(classes=given),
        FolderData(root="data", classes=given),
    ):
        assert classes_of(data) == (ClassEntry(name="rest", color=(0, 0, 0)), given[1])


@pytest.mark.parametrize("data", [CamvidData(ignore_index=5), VocData(ignore_index=5), ShapesData(ignore_index=2)])
def test_ignore_index_is_no_class(data: CamvidData | VocData | ShapesData) -> None:
    """The ignored label cannot be one that is trained, also where the recipe does not list the classes."""
    with pytest.raises(RecipeError, match=rf"ignore_index {data.ignore_index} is also the class '\w+'"):
        classes_of(data)


def test_color_masks_need_different_colors() -> None:
    """Where colours tell classes apart, two classes cannot share one."""
    classes = (ClassEntry(name="a", color=(9, 9, 9)), ClassEntry(name="b", color=(9, 9, 9)))
    assert len(classes_of(FolderData(root="data", classes=classes))) == 2
    with pytest.raises(RecipeError, match=r"'a' and 'b' share the color \(9, 9, 9\)"):
        classes_of(FolderData(root="data", classes=classes, mask_mode="rgb"))


@pytest.mark.parametrize(
    ("data", "count", "first", "last"),
    [
        (OxfordPetsData(), 3, ("pet", (0, 0, 0)), ("border", (0, 128, 0))),
        (CityscapesData(), 19, ("road", (128, 64, 128)), ("bicycle", (119, 11, 32))),
        (Ade20kData(), 150, ("wall", (0, 0, 0)), ("flag", palette(150)[149])),
    ],
    ids=lambda value: getattr(value, "format", ""),
)
def test_classes_of_the_benchmarks(
    data: DataSection, count: int, first: tuple[str, Color], last: tuple[str, Color]
) -> None:
    """Every class has a name of its own and a colour of its own."""
    classes = classes_of(data)
    assert len({entry.name for entry in classes}) == len({entry.color for entry in classes}) == count
    assert (classes[0].name, classes[0].color) == first
    assert (classes[-1].name, classes[-1].color) == last


def test_names_of_its_own_replace_a_data_set_s() -> None:
    """A recipe may call the classes of a known data set otherwise."""
    classes = classes_of(OxfordPetsData(classes=(ClassEntry(name="a"), ClassEntry(name="b"), ClassEntry(name="c"))))
    assert [entry.name for entry in classes] == ["a", "b", "c"]
