"""Procedural scenes: textured shapes that cover each other on a textured ground, drawn from the seed alone.

Colour and texture say nothing of the class, the outline does. As in PASCAL VOC a thin border of ``ignore_index`` runs
around every object.
"""

from __future__ import annotations

import colorsys
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from segzoo.data.classes import SHAPES, classes_of
from segzoo.data.draws import derive_seed
from segzoo.data.findings import Finding
from segzoo.data.source import Pixels, Sample
from segzoo.errors import RecipeError
from segzoo.recipe.data import ClassEntry, ShapesData

REVISION = 1
"""Raised when the same seed draws other scenes."""

MIN_OBJECTS, MAX_OBJECTS = 2, 4
MIN_RADIUS, MAX_RADIUS = 0.14, 0.31
"""Radius of an object as a part of the scene's shorter side."""

PLACES = 3
"""Places tried for each object."""

NOISE = 5.0
"""Standard deviation of the sensor's noise in grey levels."""

HUE_STEP = 0.382
"""From one class's hue to the next, of a circle of 1: the golden section keeps neighbours apart."""

HUE_SPREAD = 0.04
"""Standard deviation of an object's hue around its class's."""

ANY_HUE = 0.1
"""Share of objects whose hue says nothing."""

Floats = NDArray[np.float32]
Outline = list[Floats]
"""Closed polygons ``(K, 2)`` of x and y around the origin with radius 1; a second one is a hole."""


@dataclass(frozen=True)
class ShapesSource:
    """Scenes by number; nothing is stored.

    Args:
        data: The recipe's section.
        seed: The recipe's seed.
        in_channels: Channels of the images: 3, or 1 for grey ones.
    """

    data: ShapesData
    seed: int
    in_channels: int = 3

    @property
    def classes(self) -> tuple[ClassEntry, ...]:
        """Background and shapes."""
        return classes_of(self.data)

    @property
    def ignore_index(self) -> int:
        """The label of the borders."""
        return self.data.ignore_index

    @cached_property
    def splits(self) -> Mapping[str, tuple[Sample, ...]]:
        """As many scenes as ``counts`` says, named ``<split>-<number>``."""
        return {
            split: tuple(Sample(f"{split}-{number:06d}", None, None, number) for number in range(count))
            for split, count in self.data.counts.items()
        }

    @property
    def settings(self) -> str:
        """JSON of what decides a scene, its name apart."""
        drawn = [REVISION, self.seed, self.data.size, self.data.num_classes, self.data.ignore_index]
        return json.dumps([*drawn, self.in_channels])

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Draw the scene of a sample."""
        split = sample.name.rpartition("-")[0]
        image, mask = draw_scene(
            derive_seed(self.seed, "shapes", split, sample.number),
            size=self.data.size,
            num_classes=self.data.num_classes,
            ignore_index=self.data.ignore_index,
        )
        if self.in_channels == 1:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.uint8, copy=False)
        return image, mask


def list_shapes(data: ShapesData, *, seed: int, in_channels: int = 3) -> tuple[ShapesSource, tuple[Finding, ...]]:
    """Return the scenes of a ``shapes`` section; they have no files that could be missing.

    Raises:
        RecipeError: If ``ignore_index`` is the label of a class, or images have neither 1 nor 3 channels.
    """
    classes_of(data)
    if in_channels not in (1, 3):
        raise RecipeError(f"model.in_channels {in_channels}: shapes are drawn in colour (3) or in grey (1)")
    return ShapesSource(data, seed, in_channels), ()


def draw_scene(seed: int, *, size: tuple[int, int], num_classes: int, ignore_index: int) -> tuple[Pixels, Pixels]:
    """Draw one scene.

    Args:
        seed: Decides everything.
        size: Height and width.
        num_classes: Background and the first kinds of :data:`segzoo.data.classes.SHAPES`.
        ignore_index: Label of the borders, two pixels wide.

    Returns:
        The image, uint8 ``(H, W, 3)`` in RGB, and the mask, uint8 ``(H, W)``.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    ground = _muted(rng)
    image = _texture(rng, size, ground)
    mask = np.zeros(size, np.uint8)
    for _ in range(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1)):
        label = int(rng.integers(1, num_classes))
        # The place that hides least of other objects: slivers cannot be told from each other.
        areas = [_place(rng, OUTLINES[SHAPES[label]], size) for _ in range(PLACES)]
        area = min(areas, key=lambda candidate: int(np.count_nonzero(mask[candidate > 0])))
        _paint(rng, image, area, _object_color(rng, label, ground))
        mask[area > 0] = label
        mask[cv2.morphologyEx(area, cv2.MORPH_GRADIENT, _NEIGHBOURS) > 0] = ignore_index
    image += rng.standard_normal((*size, 1), dtype=np.float32) * NOISE
    return image.clip(0, 255).astype(np.uint8), mask


_NEIGHBOURS = np.ones((3, 3), np.uint8)


def _place(rng: np.random.Generator, outline: Outline, size: tuple[int, int]) -> Pixels:
    """Fill an outline, turned, scaled and moved at random, into an empty area: 1 inside, 0 outside."""
    height, width = size
    radius = rng.uniform(MIN_RADIUS, MAX_RADIUS) * min(size)
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    # Most of an object lies inside the scene, so that its outline can be told.
    margin = 0.7 * radius
    center = (rng.uniform(margin, width - margin), rng.uniform(margin, height - margin))
    area = np.zeros(size, np.uint8)
    polygons = [np.rint(polygon @ turn * radius + center).astype(np.int32) for polygon in outline]
    # Filled without anti-aliasing, holes by the even-odd rule.
    cv2.fillPoly(area, polygons, (1,))
    return area


def _paint(rng: np.random.Generator, image: Floats, area: Pixels, color: NDArray[np.float64]) -> None:
    """Put an object on the image, with soft edges and a shadow that lifts it off what lies below."""
    height, width = area.shape
    solid = area.astype(np.float32)
    reach = max(1, min(height, width) // 32)
    shift = np.array([[1, 0, reach], [0, 1, reach]], np.float32)
    shadow = cv2.warpAffine(cv2.blur(solid, (2 * reach + 1, 2 * reach + 1)), shift, (width, height))
    image *= 1 - 0.45 * shadow[..., None]
    soft = cv2.GaussianBlur(solid, (3, 3), 0.6)
    image += soft[..., None] * (_texture(rng, (height, width), color) - image)


def _muted(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a ground's colour: any hue, little of it."""
    return _rgb(rng.uniform(), rng.uniform(0, 0.3), rng.uniform(0.25, 0.85))


def _object_color(rng: np.random.Generator, label: int, ground: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a colour that hints at the class: most objects are near their class's hue, some have any."""
    own = label * HUE_STEP + rng.normal(0, HUE_SPREAD)
    hue = rng.uniform() if rng.uniform() < ANY_HUE else own
    colors = np.stack([_rgb(hue, rng.uniform(0.55, 1), value) for value in rng.uniform(0.3, 1, 3)])
    furthest: NDArray[np.float64] = colors[np.abs(colors - ground).sum(axis=1).argmax()]
    return furthest


def _rgb(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _texture(rng: np.random.Generator, size: tuple[int, int], color: NDArray[np.float64]) -> Floats:
    """Return a float32 surface ``(H, W, 3)`` of one colour, patterned, with light that falls off across it."""
    height, width = size
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))](rng, size)
    light = cv2.resize(rng.uniform(-22, 22, (3, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    strength = rng.uniform(10, 40, 3) * rng.choice((-1, 1))
    surface: Floats = pattern[..., None] * strength.astype(np.float32) + (color.astype(np.float32) + light[..., None])
    return surface


def _waves(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Stripes of any direction."""
    angle, period = rng.uniform(0, math.pi), rng.uniform(4, 14)
    x, y = _axes(size, 2 * math.pi / period, rng)
    waves: Floats = np.sin(x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle)))
    return waves


def _checks(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Squares in rows, with rounded corners."""
    x, y = _axes(size, 2 * math.pi / rng.uniform(7, 18), rng)
    checks: Floats = np.clip(3 * np.sin(x) * np.sin(y), -1, 1)
    return checks


def _clouds(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Blots of several pixels."""
    height, width = size
    cell = rng.integers(4, 12)
    coarse = rng.uniform(-1, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32, copy=False)


def _plain(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Nothing but grain."""
    return rng.standard_normal(size, dtype=np.float32) * np.float32(0.25)


_PATTERNS: tuple[Callable[[np.random.Generator, tuple[int, int]], Floats], ...] = (_waves, _checks, _clouds, _plain)


def _axes(size: tuple[int, int], scale: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return x as a row and y as a column, scaled, each from a random phase on."""
    phases = rng.uniform(0, 2 * math.pi, 2)
    x = np.arange(size[1], dtype=np.float32)[None] * np.float32(scale) + np.float32(phases[0])
    y = np.arange(size[0], dtype=np.float32)[:, None] * np.float32(scale) + np.float32(phases[1])
    return x, y


def _regular(corners: int, *, radius: float = 1.0) -> Floats:
    """Return a regular polygon; many corners are a circle."""
    angles = np.arange(corners) * (2 * math.pi / corners)
    return (radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def _cross() -> Floats:
    arm = 0.36
    quarter = np.array([(1, -arm), (1, arm), (arm, arm)], np.float32)
    turns = [np.array([[c, s], [-s, c]], np.float32) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return np.concatenate([quarter @ turn for turn in turns])


def _star() -> Floats:
    points = _regular(10)
    points[1::2] *= 0.45
    return points


OUTLINES: dict[str, Outline] = {
    "disk": [_regular(48)],
    "square": [_regular(4)],
    "triangle": [_regular(3)],
    "ring": [_regular(48), _regular(48, radius=0.5)],
    "cross": [_cross()],
    "star": [_star()],
    "ellipse": [_regular(48) * np.array([1, 0.5], np.float32)],
}
"""The outline of every kind of shape."""
