"""What is advised follows from the facts, and only what a recipe lacks is proposed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from segzoo.data.advice import class_weights, make_remarks, propose, training_split
from segzoo.data.doctor import Checkup, SplitFacts, Spread
from segzoo.recipe.data import ClassEntry
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
