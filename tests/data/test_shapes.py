"""Procedural scenes come from the seed alone and can be learned by outline only."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from segzoo.data.classes import SHAPES
from segzoo.data.shapes import MIN_OBJECTS, OUTLINES, draw_scene
from segzoo.data.source import Source, open_source
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


def test_color_does_not_give_the_class() -> None:
    """The mean colours of two classes are alike over many scenes, and vary widely within a class."""
    colors: dict[int, list[np.ndarray[Any, Any]]] = {1: [], 2: []}
    for seed in range(300):
        image, mask = draw_scene(seed, size=(48, 48), num_classes=3, ignore_index=255)
        for label, found in colors.items():
            if (mask == label).any():
                found.append(image[mask == label].mean(axis=0))
    disks, squares = (np.array(found) for found in colors.values())
    assert np.abs(disks.mean(axis=0) - squares.mean(axis=0)).max() < 20
    assert disks.std(axis=0).min() > 30


def test_outlines_are_of_radius_one() -> None:
    """Each kind of shape has an outline, whose furthest corner lies about 1 from its centre."""
    assert set(OUTLINES) == set(SHAPES[1:])
    for polygons in OUTLINES.values():
        assert np.linalg.norm(polygons[0], axis=1).max() == pytest.approx(1, abs=0.07)


def test_scenes_are_fast() -> None:
    """Drawing is no bottleneck: a few milliseconds, wide of the two or so that it takes."""
    source = open_shapes(counts={"train": 60})
    best = float("inf")
    for sample in source.splits["train"]:
        start = time.perf_counter()
        source.read(sample)
        best = min(best, time.perf_counter() - start)
    assert best < 0.006
