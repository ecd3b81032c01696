"""The regions of a mask as polygons, for maps and annotation tools, and as runs of pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segzoo.data.source import Pixels

Ring = list[list[int]]
Corner = tuple[int, int]

TURNS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Steps down and across, each a right turn from the one before: right, down, left, up."""


def geojson(mask: Pixels, names: Sequence[str]) -> dict[str, Any]:
    """Return the regions of a mask as a GeoJSON feature collection.

    Each region of pixels of one class that touch by their sides is a polygon along the pixels' edges, with holes, so
    that its area is its number of pixels. Coordinates are pixels: x to the right, y down, ``[0, 0]`` the upper left
    corner of the image.

    Args:
        mask: Labels, uint8 ``(H, W)``.
        names: The classes' names by label.
    """
    features = [
        {
            "type": "Feature",
            "properties": {"label": label, "class": names[label], "pixels": pixels},
            "geometry": {"type": "Polygon", "coordinates": rings},
        }
        for label in np.unique(mask).tolist()
        for pixels, rings in _regions(mask == label)
    ]
    return {"type": "FeatureCollection", "features": features}


def coco_annotations(mask: Pixels, *, image_id: int, first_id: int) -> list[dict[str, Any]]:
    """Return each class of a mask as an annotation with uncompressed run lengths, as COCO has them.

    Args:
        mask: Labels, uint8 ``(H, W)``.
        image_id: Number of the image.
        first_id: Number of the first annotation.
    """
    labels = np.unique(mask).tolist()
    return [
        {
            "id": first_id + place,
            "image_id": image_id,
            "category_id": label,
            "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask == label)},
            "area": int((mask == label).sum()),
            "bbox": _box(mask == label),
            "iscrowd": 1,
        }
        for place, label in enumerate(labels)
    ]


def run_lengths(region: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of runs down the columns, beginning with one outside the region, which may be 0."""
    column_major = region.ravel(order="F")
    changes = np.flatnonzero(np.diff(column_major)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [column_major.size]])).tolist()
    return [0, *lengths] if column_major[0] else lengths


def _box(region: NDArray[np.bool_]) -> list[int]:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return [
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    ]


def _regions(region: NDArray[np.bool_]) -> Iterator[tuple[int, list[Ring]]]:
    """Yield the pixels and the rings of each connected part, the outer ring first."""
    count, parts = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    pixels = np.bincount(parts.ravel(), minlength=count)
    rings: dict[int, list[Ring]] = defaultdict(list)
    for ring, inside in _rings(region):
        rings[int(parts[inside])].append(ring)
    for part in range(1, count):
        # Rings around holes run the other way and have negative areas.
        yield int(pixels[part]), sorted(rings[part], key=_area, reverse=True)


def _rings(region: NDArray[np.bool_]) -> Iterator[tuple[Ring, Corner]]:
    """Yield closed rings of corners ``[x, y]``, which have the region on their right, and a pixel beside each."""
    edges = _edges(region)
    for start in list(edges):
        while start in edges:
            direction = next(iter(edges[start]))
            inside = edges[start][direction]
            yield _trace(edges, start, direction), inside


def _trace(edges: dict[Corner, dict[int, Corner]], start: Corner, direction: int) -> Ring:
    """Follow edges from a corner back to it, and take them out."""
    ring: Ring = []
    corner, last = start, None
    while True:
        if direction != last:
            ring.append([corner[1], corner[0]])
        del edges[corner][direction]
        if not edges[corner]:
            del edges[corner]
        down, across = TURNS[direction]
        corner, last = (corner[0] + down, corner[1] + across), direction
        # Where two parts meet at a corner, the right turn stays with this one.
        turns = [turn % 4 for turn in (last + 1, last, last - 1) if turn % 4 in edges.get(corner, {})]
        if not turns:
            return [*ring, ring[0]]
        direction = turns[0]


def _edges(region: NDArray[np.bool_]) -> dict[Corner, dict[int, Corner]]:
    """Return the edges between the region and the rest: by corner and direction, the pixel on their right."""
    padded = np.pad(region, 1)
    edges: dict[Corner, dict[int, Corner]] = defaultdict(dict)
    # For each direction: where the pixel on the left lies from the one on the right, and which of its corners begins.
    for direction, (down, across), (corner_down, corner_across) in (
        (0, (-1, 0), (0, 0)),
        (1, (0, 1), (0, 1)),
        (2, (1, 0), (1, 1)),
        (3, (0, -1), (1, 0)),
    ):
        beside = np.roll(padded, (-down, -across), axis=(0, 1))
        for row, column in np.argwhere(padded & ~beside).tolist():
            pixel = (row - 1, column - 1)
            edges[pixel[0] + corner_down, pixel[1] + corner_across][direction] = pixel
    return dict(edges)


def _area(ring: Ring) -> float:
    """Return the area that a ring encloses, positive where it runs clockwise on the screen."""
    xs, ys = np.array(ring).T
    return float((xs[:-1] * ys[1:] - xs[1:] * ys[:-1]).sum()) / 2
