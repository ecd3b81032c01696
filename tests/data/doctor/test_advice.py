"""What is advised follows from the facts, and only what a recipe lacks is proposed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from segzoo.data.doctor.advice import (
    class_weights,
    make_remarks,
    propose,
    remark_on_camvid,
    remark_on_weights,
    training_split,
)
from segzoo.data.doctor.doctor import Checkup, Listed, SplitFacts, Spread
from segzoo.data.findings import Finding
from segzoo.recipe.data import CamvidData, ClassEntry, FolderData
from segzoo.recipe.schema import CrossEntropy, Dice

CLASSES = (ClassEntry(name="a"), ClassEntry(name="b"), ClassEntry(name="c"))
EXPECTED = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def facts(**changes: Any) -> SplitFacts:
    """Return the facts of ten ordinary samples."""
    usual: dict[str, Any] = {
        "samples": 10,
        "heights": Spread(360, 360, 360),
        "widths": Spread(480, 480, 480),
        "class_pixels": (600, 300, 100),
        "class_presence": (1000, 1000, 1000),
        "ignored_pixels": 50,
        "void": 0,
        "mean": (0.45, 0.5, 0.55),
        "std": (0.2, 0.2, 0.2),
    }
    return SplitFacts(**usual | changes)


def checkup(outside: dict[int, int] | None = None, **splits: SplitFacts) -> Checkup:
    """Return a check-up of some splits, without findings."""
    return Checkup((), CLASSES, splits or {"train": facts()}, Counter(outside or {}), 20)


def test_ordinary_data_has_no_remarks() -> None:
    """Nothing is said where there is nothing to say."""
    assert make_remarks(checkup(), EXPECTED) == []


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"class_pixels": (900, 0, 0)}, "train: no mask holds 'b', 'c'"),
        ({"void": 2}, "train: in 2 of 10 masks every pixel is ignored"),
        ({"ignored_pixels": 3000}, "train: 75% of all pixels are ignored"),
        (
            {"mean": (0.1, 0.2, 0.3)},
            "train: the images have the mean (0.100, 0.200, 0.300), the model expects (0.500, 0.500, 0.500): they are "
            "much darker",
        ),
        (
            {"mean": (0.9, 0.9, 0.9)},
            "train: the images have the mean (0.900, 0.900, 0.900), the model expects (0.500, 0.500, 0.500): they are "
            "much brighter",
        ),
        (
            {"std": (0.05, 0.2, 0.2)},
            "train: the images have the standard deviation (0.050, 0.200, 0.200), the model expects "
            "(0.200, 0.200, 0.200)",
        ),
        (
            {"heights": Spread(360, 360, 2000)},
            "train: images of up to 2000x480 pixels; instead of scaling them down, data.image_size null with "
            "RandomCrop of 512x512 in augment trains on parts",
        ),
    ],
    ids=["absent", "void", "ignored", "dark", "bright", "flat", "large"],
)
def test_what_should_be_known_is_said(changes: dict[str, Any], remark: str) -> None:
    """Each fact that is out of the ordinary has its remark, with its split and numbers."""
    assert make_remarks(checkup(train=facts(**changes)), EXPECTED) == [remark]


def test_images_are_compared_only_where_there_is_a_model() -> None:
    """A folder has nothing to be compared with."""
    assert make_remarks(checkup(train=facts(mean=(0.0, 0.0, 0.0))), None) == []


def test_weights_are_those_of_the_losses() -> None:
    """Both formulas agree with a computation by hand; an absent class has the median frequency's 0."""
    weights = class_weights(facts(class_pixels=(600, 300, 0), class_presence=(1000, 600, 0)))
    assert weights["median_frequency"] == pytest.approx([0.55 / 0.6, 0.55 / 0.5, 0], rel=1e-3)
    assert weights["enet"][2] == pytest.approx(50.5, rel=1e-3)
    assert class_weights(facts(class_pixels=(0, 0, 0))) == {}


@pytest.mark.parametrize(
    ("weights", "remark"),
    [
        ([1.0, 2.0, 3.0], []),
        (
            [1.0, 0.0, 3.0],
            ["loss: the class weight of 'b' is 0: it does not occur in training, so it would count for nothing"],
        ),
        (
            [0.0, 1.0, 0.0],
            ["loss: the class weight of 'a', 'c' is 0: they do not occur in training, so they would count for nothing"],
        ),
    ],
)
def test_weight_of_nothing_is_said(weights: list[float], remark: list[str]) -> None:
    """A class that the fragment would leave out of the loss is named; where no weights are proposed nothing is said."""
    fragment = {"loss": [{"name": "dice"}, {"name": "cross_entropy", "class_weights": weights}]}
    assert remark_on_weights(CLASSES, fragment) == remark
    assert remark_on_weights(CLASSES, {}) == []


CAMVID_LABELS = {str(label): 4 for label in range(12)}


@pytest.mark.parametrize(
    ("root", "width", "labels", "known"),
    [
        ("data/streets", 480, CAMVID_LABELS, True),
        ("data/CamVid", 640, CAMVID_LABELS, True),
        ("data/streets", 640, CAMVID_LABELS, False),
        ("data/camvid", 480, CAMVID_LABELS | {"12": 1}, False),
        ("data/camvid", 480, {"0": 4, "1": 4}, False),
        ("data/camvid", 480, {}, False),
        ("data/camvid", 480, CAMVID_LABELS | {"0, 0, 255": 1}, False),
    ],
)
def test_folder_like_camvid_is_named(root: str, width: int, labels: dict[str, int], known: bool) -> None:
    """Labels up to the void together with the size or the name tell of CamVid, and the remark names its format."""
    section = FolderData(root=root, classes=CLASSES)
    found = checkup(train=facts(widths=Spread(width, width, width)))
    remarks = remark_on_camvid(section, labels, found)
    assert ['"format": "camvid"' in remark for remark in remarks] == [True] * known


def test_folder_of_another_kind_is_not_taken_for_camvid() -> None:
    """Two folders of one's own, colours, and CamVid that is known as such have no remark."""
    own = FolderData(root="camvid", images="a", masks="b", splits={"train": 1.0}, classes=CLASSES)
    binary = FolderData(root="camvid", mask_mode="binary", classes=CLASSES[:2])
    for section in (own, binary, CamvidData(root="camvid")):
        assert remark_on_camvid(section, CAMVID_LABELS, checkup()) == []


def test_names_of_masks_that_end_otherwise_are_said_once() -> None:
    """What all unpaired masks share is a remark beside the findings."""
    files = [("missing_mask", f"images/{number}.jpg") for number in range(3)]
    files += [("missing_image", f"masks/{number}_mask.png") for number in range(3)]
    listed = tuple(Listed(None, Finding(kind, file, "")) for kind, file in files)  # type: ignore[arg-type]
    (remark,) = make_remarks(Checkup(listed, CLASSES, {}, Counter(), 0), None)
    assert "all 3 masks without an image end in '_mask'" in remark


def propose_for(found: Checkup, **section: Any) -> dict[str, Any]:
    """Return the fragment for a recipe with one plain cross-entropy."""
    data = {"image_size": None, "ignore_labels": []} | section
    return propose(found, {"median_frequency": [1.0, 2.0, 3.0]}, data=data, loss=(CrossEntropy(),))


def test_only_what_is_missing_is_proposed() -> None:
    """A recipe that has a size and class weights gains nothing."""
    whole = {"image_size": [64, 64], "ignore_labels": []}
    terms = (CrossEntropy(class_weights="enet"), Dice())
    assert propose(checkup(), {"median_frequency": [1.0] * 3}, data=whole, loss=terms) == {}


def test_terms_keep_their_keys() -> None:
    """A list in a recipe is replaced as a whole, so that the fragment holds all of its terms."""
    terms = (CrossEntropy(weight=0.5, label_smoothing=0.1), Dice(weight=2.0))
    fragment = propose(checkup(), {"median_frequency": [1.0, 2.0, 3.0]}, data={"image_size": [8, 8]}, loss=terms)
    assert fragment == {
        "loss": [
            {"name": "cross_entropy", "weight": 0.5, "label_smoothing": 0.1, "class_weights": [1.0, 2.0, 3.0]},
            {"name": "dice", "weight": 2.0},
        ]
    }


@pytest.mark.parametrize(
    ("heights", "widths", "size"),
    [
        ((360, 360, 360), (480, 480, 480), [360, 480]),
        ((300, 375, 500), (500, 500, 500), [384, 512]),
        ((1024, 1024, 1024), (2048, 2048, 2048), [512, 1024]),
        ((5, 5, 5), (7, 7, 7), [32, 32]),
    ],
    ids=["as it is", "median", "scaled", "tiny"],
)
def test_size_is_the_median(heights: tuple[int, ...], widths: tuple[int, ...], size: list[int]) -> None:
    """One size of all images is kept; else it is a multiple of 32, no longer than 1024."""
    found = checkup(train=facts(heights=Spread(*heights), widths=Spread(*widths)))
    assert propose_for(found)["data"] == {"image_size": size}


def test_labels_that_many_masks_hold_are_to_be_ignored() -> None:
    """A tenth of the masks, and more than one, are no slip; what the recipe ignores already stays."""
    found = checkup({11: 20, 40: 2, 254: 1})
    assert propose_for(found, image_size=[8, 8], ignore_labels=[99])["data"] == {"ignore_labels": [11, 40, 99]}
    assert "data" not in propose_for(checkup({254: 1}), image_size=[8, 8])


def test_training_split_comes_first() -> None:
    """Weights and sizes come from train, and from the first split where there is no train."""
    assert training_split(checkup(val=facts(), train=facts())) == "train"
    assert training_split(checkup(other=facts(), val=facts())) == "other"
    assert training_split(Checkup((), CLASSES, {}, Counter(), 0)) is None
