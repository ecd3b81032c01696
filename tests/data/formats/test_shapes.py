"""Procedural scenes come from the seed alone; outlines give the class, colours hint at it."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segzoo.data.classes import SHAPES
from segzoo.data.formats.shapes import HUE_STEP, MIN_OBJECTS, OUTLINES, draw_scene
from segzoo.data.opening import open_source
from segzoo.data.source import Source
from segzoo.recipe.data import ShapesData


def open_shapes(seed: int = 0, **keys: Any) -> Source:
    """Open scenes with some keys of the section set."""
    return open_source(ShapesData(**keys), seed=seed)


def test_counts_and_names() -> None:
    """Each split has as many scenes as the recipe counts, in order."""
    source = open_shapes(counts={"train": 3, "val": 1})
    assert [sample.name for sample in source.splits["train"]] == ["train-000000", "train-000001", "train-000002"]
    assert [sample.number for sample in source.splits["train"]] == [0, 1, 2]
    assert len(source.splits["val"]) == 1


def test_equal_seeds_draw_equal_scenes() -> None:
    """A scene is the same in another process and after others; seeds, splits and numbers change it."""
    one, again, other = (open_shapes(seed, counts={"train": 2, "val": 2}) for seed in (0, 0, 1))
    train, val = one.splits["train"], one.splits["val"]
    image, mask = one.read(train[1])
    again.read(train[0])
    np.testing.assert_array_equal(image, again.read(train[1])[0])
    np.testing.assert_array_equal(mask, again.read(train[1])[1])
    for source, sample in ((other, train[1]), (one, train[0]), (one, val[1])):
        assert (source.read(sample)[0] != image).mean() > 0.5


def test_settings_tell_what_decides_a_scene() -> None:
    """The cache of a scan must not mix scenes of other parameters."""
    keys: list[dict[str, Any]] = [{}, {"size": (64, 96)}, {"num_classes": 4}, {"ignore_index": 254}, {"seed": 1}]
    assert len({open_shapes(**key).settings for key in keys}) == len(keys)


@pytest.mark.parametrize("size", [(96, 96), (64, 128), (33, 47), (5, 3), (1, 1), (1, 200), (300, 200)])
def test_any_size(size: tuple[int, int]) -> None:
    """Scenes of every size are drawn, labels stay inside the classes."""
    for seed in range(8):
        image, mask = draw_scene(seed, size=size, num_classes=8, ignore_index=255)
        assert (image.dtype, image.shape) == (np.uint8, (*size, 3))
        assert (mask.dtype, mask.shape) == (np.uint8, size)
        assert set(np.unique(mask)) <= {*range(8), 255}


def test_every_class_is_common() -> None:
    """Each class has its part of the pixels, and none is left to the border."""
    source = open_shapes(num_classes=8, counts={"train": 150})
    counts = sum(np.bincount(source.read(sample)[1].ravel(), minlength=256) for sample in source.splits["train"])
    shares = np.asarray(counts) / np.sum(counts)
    assert shares[0] > 0.5
    assert shares[1:8].min() > 0.01
    assert shares[8:255].sum() == 0
    assert 0.02 < shares[255] < 0.15


def test_objects_have_a_border() -> None:
    """No two labels touch: between them lies a line of the ignored label, one pixel inside and one outside."""
    for seed in range(20):
        _, mask = draw_scene(seed, size=(96, 96), num_classes=5, ignore_index=255)
        for left, right in ((mask[:, :-1], mask[:, 1:]), (mask[:-1], mask[1:])):
            assert not ((left != right) & (left != 255) & (right != 255)).any()
        assert len(np.unique(mask)) >= 3 - (MIN_OBJECTS < 2)


def hues(label: int) -> NDArray[np.float64]:
    """Return the mean hue, in a circle of 1, of each object of a class in scenes that show one object of it."""
    found = []
    for seed in range(300):
        image, mask = draw_scene(seed, size=(48, 48), num_classes=3, ignore_index=255)
        if (mask == label).any():
            red, green, blue = image[mask == label].mean(axis=0) / 255
            found.append(colorsys.rgb_to_hsv(red, green, blue)[0])
    return np.array(found)


def test_color_hints_at_the_class_but_does_not_give_it() -> None:
    """Most objects of a class are near its hue, and some are of any hue."""
    for label in (1, 2):
        distance = np.abs((hues(label) - label * HUE_STEP + 0.5) % 1 - 0.5)
        assert 0.7 < (distance < 0.1).mean() < 0.98


def test_outlines_are_of_radius_one() -> None:
    """Each kind of shape has an outline, whose furthest corner lies about 1 from its centre."""
    assert set(OUTLINES) == set(SHAPES[1:])
    for polygons in OUTLINES.values():
        assert np.linalg.norm(polygons[0], axis=1).max() == pytest.approx(1, abs=0.07)
