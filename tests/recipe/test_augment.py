"""The ``augment`` section is checked by name, with the nearest valid name in the message."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from segzoo.errors import RecipeError
from segzoo.recipe.augment import check_augment
from segzoo.recipe.schema import AugmentEntry


def entries(*items: dict[str, Any]) -> list[AugmentEntry]:
    """Return entries as a recipe's JSON gives them."""
    return [AugmentEntry.model_validate_json(json.dumps(item)) for item in items]


def faults(*items: dict[str, Any], in_channels: int = 3) -> list[str]:
    """Return the lines of the error that the entries raise."""
    with pytest.raises(RecipeError) as caught:
        check_augment(entries(*items), in_channels=in_channels)
    return str(caught.value).split("\n")


def test_valid_entries_pass() -> None:
    """Flat and nested entries with valid names raise nothing, and neither does an empty section."""
    check_augment([])
    check_augment(
        entries(
            {"name": "HorizontalFlip", "p": 0.5},
            {"name": "RandomCrop", "height": 64, "width": 64, "pad_if_needed": True},
            {
                "name": "OneOf",
                "transforms": [{"name": "Sequential", "transforms": [{"name": "Blur"}]}, {"name": "NoOp"}],
            },
        )
    )


def test_null_is_absent() -> None:
    """A resolved recipe writes null for ``p`` and ``transforms`` that were not given, and it must pass again."""
    check_augment(entries({"name": "HorizontalFlip", "p": None, "transforms": None}))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"name": "HorizontalFlp"},
            "augment.0.name: no transform named 'HorizontalFlp'. Did you mean 'HorizontalFlip'",
        ),
        ({"name": "HorizontalFlip", "prob": 1}, "augment.0: HorizontalFlip has no argument 'prob'. Did you mean 'p'?"),
        ({"name": "Affine", "rotation": 9}, "augment.0: Affine has no argument 'rotation'. Did you mean 'rotate'"),
        ({"name": "RandomCrop", "width": 9}, "augment.0: RandomCrop needs 'height'"),
        ({"name": "Blur", "transforms": [{"name": "NoOp"}]}, "augment.0: Blur has no argument 'transforms'."),
        ({"name": "OneOf", "transforms": []}, "augment.0: OneOf needs 'transforms'"),
        ({"name": "OneOf"}, "augment.0: OneOf needs 'transforms'"),
        ({"name": "Normalize"}, "augment.0.name: 'Normalize' cannot be used: segzoo itself"),
        ({"name": "ToTensorV2"}, "augment.0.name: 'ToTensorV2' cannot be used: segzoo itself"),
        ({"name": "ToFloat"}, "augment.0.name: 'ToFloat' cannot be used: segzoo itself"),
        ({"name": "Lambda"}, "augment.0.name: 'Lambda' cannot be used: a recipe holds no code"),
        ({"name": "os:system"}, "augment.0.name: no transform named 'os:system'."),
        ({"name": "__import__"}, "augment.0.name: no transform named '__import__'."),
        ({"name": "Resize", "height": 9, "width": 9, "mask_interpolation": 1}, "augment.0: Resize cannot be given"),
    ],
)
def test_fault_names_path_and_way_out(entry: dict[str, Any], message: str) -> None:
    """Each fault gives one line with the path, the value and what would be valid."""
    (line,) = faults(entry)
    assert line.startswith(message)


def test_nested_fault_has_its_path() -> None:
    """A fault inside ``transforms`` is named by its indices."""
    nested = {"name": "OneOf", "transforms": [{"name": "NoOp"}, {"name": "SomeOf", "transforms": [{"name": "Blurr"}]}]}
    (line,) = faults(nested)
    assert line.startswith("augment.0.transforms.1.transforms.0.name: no transform named 'Blurr'. Did you mean 'Blur'")


def test_all_faults_are_told_at_once() -> None:
    """The second fault does not wait for the first to be mended."""
    lines = faults({"name": "Blurr"}, {"name": "NoOp"}, {"name": "Blur", "sigma": 1, "size": 3})
    assert [line.split(":")[0] for line in lines] == ["augment.0.name", "augment.2", "augment.2"]


@pytest.mark.parametrize(("count", "message"), [(0, "got 0"), ("2", "got '2'"), (True, "got True"), (3, "there are 2")])
def test_some_of_needs_a_possible_count(count: Any, message: str) -> None:
    """``n`` of SomeOf is a number of its members, which albumentations itself does not check."""
    (line,) = faults({"name": "SomeOf", "n": count, "transforms": [{"name": "NoOp"}, {"name": "Blur"}]})
    assert line.startswith("augment.0.n: ")
    assert message in line


def test_some_of_may_repeat_members() -> None:
    """With ``replace`` more may be drawn than there are."""
    check_augment(entries({"name": "SomeOf", "n": 3, "replace": True, "transforms": [{"name": "NoOp"}]}))


@pytest.mark.parametrize(
    ("name", "in_channels", "counts"),
    [
        ("ToGray", 1, "3"),
        ("ToGray", 4, "3"),
        ("HueSaturationValue", 5, "3"),
        ("RGBShift", 1, "3"),
        ("ColorJitter", 4, "1 or 3"),
        ("ChannelShuffle", 1, "2, 3, 4 or more"),
        ("MedianBlur", 2, "1, 3, 4 or more"),
    ],
)
def test_transforms_that_do_not_suit_the_channels(name: str, in_channels: int, counts: str) -> None:
    """They are refused by name, also where they are nested."""
    reason = f"{name!r} acts on images of {counts} channels, but model.in_channels is {in_channels}"
    assert faults({"name": name}, in_channels=in_channels) == [f"augment.0.name: {reason}"]
    nested = {"name": "OneOf", "transforms": [{"name": "NoOp"}, {"name": name}]}
    assert faults(nested, in_channels=in_channels) == [f"augment.0.transforms.1.name: {reason}"]


@pytest.mark.parametrize(("name", "in_channels"), [("ColorJitter", 1), ("ChannelShuffle", 13), ("MedianBlur", 7)])
def test_transforms_that_suit_the_channels(name: str, in_channels: int) -> None:
    """From five channels on all numbers are alike."""
    check_augment(entries({"name": name}), in_channels=in_channels)


@pytest.mark.parametrize(
    ("entry", "in_channels", "reason"),
    [
        (
            {"name": "Affine", "fill": [1, 2, 3]},
            4,
            "has 3 values, but model.in_channels is 4; give one for each channel",
        ),
        ({"name": "Affine", "fill": [1]}, 3, "has 1 values, but model.in_channels is 3; give one for each channel"),
        ({"name": "Affine", "fill": [1] * 5}, 5, "Affine takes a list for up to 4 channels; give one number for all"),
        ({"name": "ThinPlateSpline", "fill": 9}, 3, "ThinPlateSpline fills the first channel with a number"),
        ({"name": "ThinPlateSpline", "fill": 9.0}, 5, "ThinPlateSpline fills the first channel with a number"),
        ({"name": "Erasing", "fill": "inpaint_ns"}, 1, "'inpaint_ns' paints images of 3 channels"),
    ],
)
def test_fills_that_do_not_suit_the_channels(entry: dict[str, Any], in_channels: int, reason: str) -> None:
    """A fill that would leave channels at 0, or be refused in the middle of the training, is refused before."""
    (line,) = faults(entry, in_channels=in_channels)
    assert line.startswith(f"augment.0.fill: {reason}")


@pytest.mark.parametrize(
    ("entry", "in_channels"),
    [
        ({"name": "Affine", "fill": [1, 2, 3, 4]}, 4),
        ({"name": "Affine", "fill": 7}, 13),
        ({"name": "Erasing", "fill": [1] * 5}, 5),
        ({"name": "ThinPlateSpline", "fill": 0}, 5),
        ({"name": "ThinPlateSpline", "fill": 9}, 1),
        ({"name": "CropAndPad", "px": 4, "fill": [1, 9]}, 3),
        ({"name": "Erasing", "fill": "inpaint_ns"}, 3),
        ({"name": "Erasing", "fill": "random"}, 5),
    ],
)
def test_fills_that_suit_the_channels(entry: dict[str, Any], in_channels: int) -> None:
    """What fills every channel passes."""
    check_augment(entries(entry), in_channels=in_channels)


def test_channels_may_be_left_unchecked() -> None:
    """Who has only names and arguments to check says nothing of channels."""
    check_augment(entries({"name": "ToGray"}, {"name": "Affine", "fill": [1, 2, 3, 4]}))


def test_needs_no_heavy_import() -> None:
    """Checking names imports neither albumentations nor numpy nor torch."""
    code = (
        "import sys; from segzoo.recipe.augment import augmentation_table; augmentation_table();"
        "assert not {'torch', 'numpy', 'albumentations', 'cv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
