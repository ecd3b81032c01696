"""Augmentation moves image and mask together, depends on its seed alone, and invents no labels."""

from __future__ import annotations

import json
import os
import pickle
import random
from typing import Any

import numpy as np
import pytest

from segzoo.data.draws import derive_seed
from segzoo.data.source import Pixels
from segzoo.data.transforms import TrainTransform, build_augmentation, resize
from segzoo.errors import RecipeError
from segzoo.recipe.augment import augmentation_table
from segzoo.recipe.schema import AugmentEntry


def build(*entries: dict[str, Any], size: tuple[int, int] | None = None, ignore: int = 255) -> TrainTransform:
    """Build a pipeline from entries as a recipe has them."""
    parsed = [AugmentEntry.model_validate_json(json.dumps(entry)) for entry in entries]
    return build_augmentation(parsed, ignore_index=ignore, image_size=size)


def make_sample(height: int = 48, width: int = 64) -> tuple[Pixels, Pixels]:
    """Return a noisy image whose red channel is ten times the mask's labels 1 to 4."""
    rows, columns = np.mgrid[:height, :width]
    mask = (1 + (rows // 12 + columns // 16) % 4).astype(np.uint8)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    image[..., 0] = mask * 10
    return image, mask


def test_resize_keeps_labels_and_averages_images() -> None:
    """Masks take the nearest label and no other; an image that shrinks is averaged, its mask's centres fit."""
    image, mask = make_sample()
    small_image, small_mask = resize(image, mask, (16, 16))
    assert (small_image.shape, small_mask.shape) == ((16, 16, 3), (16, 16))
    assert set(np.unique(small_mask)) == {1, 2, 3, 4}
    np.testing.assert_array_equal(small_image[..., 0], small_mask * 10)
    assert small_image[..., 1].std() < image[..., 1].std() / 2
    large_image, none = resize(image, None, (96, 130))
    assert (large_image.shape, none) == ((96, 130, 3), None)


def test_resize_takes_the_middle_of_a_pixel() -> None:
    """A mask that shrinks threefold takes the middle of each three by three block."""
    mask = np.arange(81, dtype=np.uint8).reshape(9, 9)
    np.testing.assert_array_equal(resize(np.dstack([mask] * 3), mask, (3, 3))[1], mask[1::3, 1::3])


def make_channels(channels: int) -> tuple[Pixels, Pixels]:
    """Return a sample whose channels are noise."""
    image = np.random.default_rng(channels).integers(0, 256, (48, 64, channels), np.uint8)
    return image, make_sample()[1]


@pytest.mark.parametrize("size", [(16, 16), (24, 32), (20, 90), (96, 130)])
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 13])
def test_resize_of_any_channels(channels: int, size: tuple[int, int]) -> None:
    """Each channel is resized as it would be alone, a rounding apart, and a single one keeps its axis."""
    image, mask = make_channels(channels)
    resized, _ = resize(image, mask, size)
    assert resized.shape == (*size, channels)
    for channel in range(channels):
        alone, _ = resize(image[..., channel : channel + 1].copy(), None, size)
        difference = resized[..., channel].astype(int) - alone[..., 0]
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5)])
def test_resize_of_odd_sizes(size: tuple[int, int]) -> None:
    """Slivers and single pixels can be resized from and to."""
    image, mask = make_sample()
    there = resize(image, mask, size)
    back = resize(*there, (48, 64))
    assert (there[0].shape[:2], there[1].shape, back[1].shape) == (size, size, (48, 64))


def test_without_entries_nothing_changes() -> None:
    """An empty section resizes and does nothing else."""
    image, mask = make_sample()
    same_image, same_mask = build()(image, mask, seed=1)
    np.testing.assert_array_equal(same_image, image)
    np.testing.assert_array_equal(same_mask, mask)
    assert build(size=(24, 32))(image, mask, seed=1)[0].shape == (24, 32, 3)


def test_image_and_mask_move_together() -> None:
    """After flips and quarter turns each pixel still has its own label."""
    transform = build(
        {"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5}, {"name": "RandomRotate90", "p": 1.0}
    )
    for seed in range(10):
        image, mask = transform(*make_sample(), seed=seed)
        np.testing.assert_array_equal(image[..., 0], mask * 10)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_channels_move_together(channels: int) -> None:
    """What only moves pixels does so for any number of channels, with padding and crops, and fills all of them."""
    transform = build(
        {"name": "RandomScale", "scale_limit": 0.3, "p": 1.0},
        {"name": "Rotate", "limit": 20, "border_mode": 0, "p": 1.0},
        {"name": "PadIfNeeded", "min_height": 70, "min_width": 90, "border_mode": 0},
        {"name": "RandomCrop", "height": 40, "width": 50, "p": 1.0},
        {"name": "HorizontalFlip", "p": 0.5},
        {"name": "GaussNoise", "p": 0.5},
        size=(40, 50),
    )
    image, mask = make_channels(channels)
    one, one_mask = transform(image, mask, seed=3)
    assert (one.shape, one_mask.shape, one.dtype) == ((40, 50, channels), (40, 50), np.uint8)
    again, again_mask = transform(image, mask, seed=3)
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one_mask, again_mask)


def test_prepared_samples_give_the_same() -> None:
    """What comes before anything random can be done once: augmenting its result equals augmenting the sample."""
    flip, crop = {"name": "HorizontalFlip", "p": 0.5}, {"name": "RandomCrop", "height": 30, "width": 30}
    for transform, shape in (
        (build(flip, size=(20, 24)), (20, 24)),
        (build(crop, size=(20, 24)), (48, 64)),
        (build(), (48, 64)),
    ):
        prepared = transform.prepare(*make_sample())
        assert prepared[1].shape == shape
        for seed in range(4):
            for one, other in zip(transform(*prepared, seed=seed), transform(*make_sample(), seed=seed), strict=True):
                np.testing.assert_array_equal(one, other)


def test_transforms_draw_independently() -> None:
    """Two flips of probability one half come in all four combinations, as often as each other."""
    image, mask = np.zeros((2, 2, 3), np.uint8), np.array([[1, 2], [3, 4]], np.uint8)
    transform = build({"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5})
    corners = [transform(image, mask, seed=derive_seed(seed))[1][0, 0] for seed in range(400)]
    assert np.bincount(corners, minlength=5)[1:].min() > 60


def required_arguments(name: str) -> dict[str, Any]:
    """Return the arguments without which a transform cannot be built."""
    if "transforms" in augmentation_table().transforms[name].required:
        return {"transforms": [{"name": "HorizontalFlip"}, {"name": "Rotate", "limit": 45}]}
    sizes = {
        "height": 20,
        "width": 24,
        "size": [20, 24],
        "min_max_height": [10, 20],
        "scale": [0.5, 1.0],
        "max_size": 40,
    }
    given = {key: sizes[key] for key in augmentation_table().transforms[name].required}
    extra: dict[str, dict[str, Any]] = {
        "CropAndPad": {"px": [-4, 4]},
        "LongestMaxSize": {"max_size": 40},
        "SmallestMaxSize": {"max_size": 40},
        "PadIfNeeded": {"min_height": 60, "min_width": 70},
        "Pad": {"padding": 4},
        "Crop": {"x_max": 20, "y_max": 20},
        "XYMasking": {"num_masks_x": 1, "mask_x_length": 5},
    }
    return given | extra.get(name, {})


@pytest.mark.filterwarnings("ignore:This augmenter is very slow")
@pytest.mark.parametrize("name", sorted(augmentation_table().transforms))
def test_every_transform(name: str) -> None:
    """Each transform of the table gives bytes and known labels, the same for the same seed whatever ran before."""
    transform = build({"name": name, "p": 1.0, **required_arguments(name)})
    image, mask = transform(*make_sample(), seed=7)
    assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3)
    assert (mask.dtype, mask.shape) == (np.uint8, image.shape[:2])
    assert set(np.unique(mask)) <= {1, 2, 3, 4, 255}
    copy = pickle.loads(pickle.dumps(transform))
    for seed in (8, 9):
        transform(*make_sample(), seed=seed)
    np.random.seed(1)
    random.seed(1)
    for other in (transform, copy):
        again_image, again_mask = other(*make_sample(), seed=7)
        np.testing.assert_array_equal(again_image, image)
        np.testing.assert_array_equal(again_mask, mask)


FILLING: list[dict[str, Any]] = [
    {"name": "Rotate", "limit": [30, 30], "border_mode": 0},
    {"name": "Affine", "translate_px": 20},
    {"name": "PadIfNeeded", "min_height": 60, "min_width": 80, "border_mode": 0},
    {"name": "Perspective", "scale": [0.2, 0.2], "fit_output": True},
    {"name": "RandomCrop", "height": 60, "width": 80, "pad_if_needed": True},
    {"name": "Sequential", "transforms": [{"name": "SafeRotate", "limit": [30, 30], "p": 1.0}]},
]


@pytest.mark.parametrize("entry", FILLING, ids=lambda entry: entry["name"])
def test_what_is_uncovered_is_ignored(entry: dict[str, Any]) -> None:
    """Corners that a rotation or padding uncovers get the ignored label, in nested entries too, never class 0."""
    _, mask = build({"p": 1.0, **entry}, ignore=200)(*make_sample(), seed=0)
    assert 200 in mask
    assert 0 not in mask


def test_recipe_decides_on_filling() -> None:
    """A fill_mask of the recipe is kept."""
    entry = {"name": "PadIfNeeded", "min_height": 60, "min_width": 80, "fill_mask": 3}
    _, mask = build(entry)(*make_sample(), seed=0)
    assert set(np.unique(mask)) == {1, 2, 3, 4}


def test_hidden_parts_keep_their_labels() -> None:
    """Dropping out a part of the image leaves the mask, unless the recipe wants the part ignored."""
    entry = {"name": "CoarseDropout", "num_holes_range": [3, 3], "p": 1.0}
    image, mask = make_sample()
    np.testing.assert_array_equal(build(entry)(image, mask, seed=0)[1], mask)
    assert 255 in build({**entry, "fill_mask": 255})(image, mask, seed=0)[1]


def test_resized_first_unless_it_crops() -> None:
    """Without a crop samples are brought to the network's size and then augmented; with one, the other way round."""
    seen: list[tuple[int, ...]] = []
    pad = {"name": "PadIfNeeded", "min_height": 40, "min_width": 40}
    crop = {"name": "OneOf", "transforms": [{"name": "RandomCrop", "height": 30, "width": 30}], "p": 1.0}
    for transform in (build(pad, size=(20, 20)), build(crop, size=(20, 20))):
        assert transform.compose is not None
        compose, transform_class = transform.compose, type(transform.compose)

        class Spy(transform_class):  # type: ignore[misc, valid-type]
            def __call__(self, **data: Any) -> Any:
                seen.append(data["image"].shape[:2])
                return super().__call__(**data)

        compose.__class__ = Spy
        image, mask = transform(*make_sample(), seed=0)
        assert (image.shape, mask.shape) == ((20, 20, 3), (20, 20))
    assert seen == [(20, 20), (48, 64)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "HorizontalFlp"}, r"augment\.0\.name: .*'HorizontalFlp'.*'HorizontalFlip'"),
        ({"name": "HorizontalFlip", "prob": 0.5}, r"augment\.0: HorizontalFlip has no argument 'prob'"),
        ({"name": "Rotate", "limit": "far"}, r"augment\.0: Rotate: limit = 'far': input should be"),
        (
            {"name": "Rotate", "border_mode": 99},
            r"augment\.0: Rotate: border_mode = 99: input should be 0, 1, 2, 3 or 4$",
        ),
        ({"name": "RandomCrop", "height": -3, "width": 2}, r"augment\.0: RandomCrop: height = -3: .*greater than"),
        (
            {"name": "OneOf", "transforms": [{"name": "NoOp"}, {"name": "Blur", "blur_limit": "x"}]},
            r"augment\.0\.transforms\.1: Blur: blur_limit = 'x'",
        ),
    ],
)
def test_mistakes_are_named(entry: dict[str, Any], message: str) -> None:
    """Wrong names, arguments and values are told with path, transform, argument and value in one line."""
    with pytest.raises(RecipeError, match=message) as caught:
        build(entry)
    assert len(str(caught.value).splitlines()) == 1


def test_crop_on_a_smaller_image_is_told() -> None:
    """What a transform cannot do to an image is a fault of the recipe, with the image's size."""
    transform = build({"name": "RandomCrop", "height": 100, "width": 100})
    with pytest.raises(RecipeError, match=r"augment fails on an image of 48x64 pixels and 3 channels: .*100"):
        transform(*make_sample(), seed=0)


def test_what_needs_colours_is_told() -> None:
    """A transform that other numbers of channels are not for is a fault of the recipe, in one line."""
    for name, channels, reason in (
        ("ISONoise", 1, r"of 48x64 pixels and 1 channel: .*3-channel"),
        ("HueSaturationValue", 4, r"of 48x64 pixels and 4 channels: .*1-channel or 3-channel"),
    ):
        with pytest.raises(RecipeError, match=reason) as caught:
            build({"name": name, "p": 1.0})(*make_channels(channels), seed=0)
        assert len(str(caught.value).splitlines()) == 1


def test_package_index_is_left_alone() -> None:
    """Albumentations is told not to look for updates."""
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"]
