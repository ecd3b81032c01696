"""A scatter of mIoU over cost, as coordinates that a template draws.

This module needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segzoo.page import percent

WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 770, 30, 360


@dataclass(frozen=True)
class Scored:
    """A model with what it costs and how good it is.

    Args:
        name: What the point is called.
        cost: Above 0; lower is better.
        mean_iou: From 0 to 1; higher is better.
    """

    name: str
    cost: float
    mean_iou: float


@dataclass(frozen=True)
class Point:
    """One model of a chart; ``best`` where it is on the Pareto front."""

    name: str
    note: str
    x: float
    y: float
    best: bool
    anchor: str


@dataclass(frozen=True)
class Tick:
    """One line of an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A scatter; the x-axis is logarithmic.

    Args:
        cost: What the x-axis shows.
        points: The models.
        front: The Pareto front, as SVG writes points.
        x_ticks: Lines of the x-axis.
        y_ticks: Lines of the y-axis.
    """

    cost: str
    points: list[Point]
    front: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


def pareto_front(scored: Sequence[Scored]) -> list[Scored]:
    """Return the models that no other beats: none is as cheap and as good, and better in one; the cheapest first."""
    front: list[Scored] = []
    for each in sorted(scored, key=lambda model: (model.cost, -model.mean_iou)):
        twin = bool(front) and (each.cost, each.mean_iou) == (front[-1].cost, front[-1].mean_iou)
        if not front or each.mean_iou > front[-1].mean_iou or twin:
            front.append(each)
    return front


def draw_scatter(cost: str, scored: Sequence[Scored]) -> Chart:
    """Return the chart of models, of which there must be one.

    Args:
        cost: What the x-axis shows, with its unit.
        scored: The models.
    """
    x_ticks, y_ticks = _decades([each.cost for each in scored]), _tenths([each.mean_iou for each in scored])
    front = pareto_front(scored)

    def place(each: Scored) -> tuple[float, float]:
        across = _share(math.log10(each.cost), math.log10(x_ticks[0]), math.log10(x_ticks[-1]))
        return _across(across), _up(_share(each.mean_iou, y_ticks[0], y_ticks[-1]))

    def point(each: Scored) -> Point:
        x, y = place(each)
        note = f"{each.cost:.4g} {cost}, mIoU {percent(each.mean_iou)}"
        anchor = "end" if x > RIGHT - 120 else "start" if x < LEFT + 120 else "middle"
        return Point(each.name, note, x, y, each in front, anchor)

    return Chart(
        cost,
        [point(each) for each in scored],
        " ".join(f"{x},{y}" for x, y in map(place, front)) if len(front) > 1 else "",
        [
            Tick(_across(_share(math.log10(at), math.log10(x_ticks[0]), math.log10(x_ticks[-1]))), f"{at:g}")
            for at in x_ticks
        ],
        [Tick(_up(_share(at, y_ticks[0], y_ticks[-1])), f"{at:.0%}") for at in y_ticks],
    )


def _decades(values: Sequence[float]) -> list[float]:
    """Return 1, 2, 5, 10 … from below the least to above the most."""
    powers = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 2)
    steps = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    first = max(at for at in range(len(steps)) if steps[at] < min(values))
    last = min(at for at in range(len(steps)) if steps[at] > max(values))
    return steps[first : last + 1]


def _tenths(values: Sequence[float]) -> list[float]:
    """Return tenths from below the least to above the most."""
    first, last = math.floor(min(values) * 10), math.ceil(max(values) * 10)
    return [at / 10 for at in range(first, max(last, first + 1) + 1)]


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def _across(share: float) -> float:
    return round(LEFT + share * (RIGHT - LEFT), 1)


def _up(share: float) -> float:
    return round(BOTTOM - share * (BOTTOM - TOP), 1)
