"""Polygons and runs hold exactly the pixels of a mask."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from segzoo.inference.contours import coco_annotations, geojson, run_lengths


def area(ring: list[list[int]]) -> float:
    """Return the signed area of a ring by the shoelace formula."""
    return sum(x * v - u * y for (x, y), (u, v) in itertools.pairwise(ring)) / 2


def painted(document: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Return the mask that the polygons describe, by the even-odd rule at the pixels' centres."""
    mask = np.full(size, 99, np.uint8)
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    for feature in document["features"]:
        inside = np.zeros(size, bool)
        for ring in feature["geometry"]["coordinates"]:
            for (x, y), (u, v) in itertools.pairwise(ring):
                if x == u:  # a ray to the left meets this side
                    inside ^= (columns > x) & (rows > min(y, v)) & (rows < max(y, v))
        assert (mask[inside] == 99).all()
        mask[inside] = feature["properties"]["label"]
    return mask


@pytest.mark.parametrize("seed", range(30))
def test_polygons_give_the_mask_back(seed: int) -> None:
    """Painted again they are the mask, with all its holes and corners; areas are counts of pixels."""
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 3, (rng.integers(1, 10), rng.integers(1, 10))).astype(np.uint8)
    document = geojson(mask, ("a", "b", "c"))
    assert np.array_equal(painted(document, mask.shape), mask)
    for feature in document["features"]:
        rings = feature["geometry"]["coordinates"]
        assert all(ring[0] == ring[-1] for ring in rings)
        assert area(rings[0]) > 0
        assert all(area(ring) < 0 for ring in rings[1:])
        assert sum(map(area, rings)) == feature["properties"]["pixels"]


def test_straight_sides_have_two_corners() -> None:
    """A square with a hole is two rings of four corners, named after its class."""
    mask = np.ones((5, 6), np.uint8)
    mask[2, 3] = 0
    hole, square = geojson(mask, ("ground", "wall"))["features"]
    assert square["properties"] == {"label": 1, "class": "wall", "pixels": 29}
    outer, inner = square["geometry"]["coordinates"]
    assert sorted(outer[:-1]) == [[0, 0], [0, 5], [6, 0], [6, 5]]
    assert sorted(inner[:-1]) == [[3, 2], [3, 3], [4, 2], [4, 3]]
    assert hole["properties"]["class"] == "ground"


@pytest.mark.parametrize("seed", range(5))
def test_runs_give_the_region_back(seed: int) -> None:
    """Run lengths go down the columns and begin outside, as COCO has them."""
    region = np.random.default_rng(seed).random((7, 5)) < 0.5
    found: list[bool] = []
    for place, length in enumerate(run_lengths(region)):
        found += [bool(place % 2)] * length
    assert np.array_equal(np.array(found).reshape(5, 7).T, region)
    assert run_lengths(np.ones((2, 2), bool)) == [0, 4]
    assert run_lengths(np.zeros((2, 2), bool)) == [4]


def test_annotations_of_coco() -> None:
    """Each class that occurs is one annotation with its area and its box."""
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 2:5] = 2
    first, second = coco_annotations(mask, image_id=7, first_id=11)
    assert (first["id"], first["category_id"], first["area"]) == (11, 0, 18)
    assert second == {
        "id": 12,
        "image_id": 7,
        "category_id": 2,
        "segmentation": {"size": [4, 6], "counts": [9, 2, 2, 2, 2, 2, 5]},
        "area": 6,
        "bbox": [2, 1, 3, 2],
        "iscrowd": 1,
    }
