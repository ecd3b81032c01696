"""The chart places models where they belong, and marks those that no other beats."""

from __future__ import annotations

import pytest

from segzoo.bench.scatter import BOTTOM, LEFT, RIGHT, TOP, Scored, draw_scatter, pareto_front

CHEAP, GOOD, BEATEN, MIDDLE = Scored("a", 1, 0.5), Scored("b", 10, 0.8), Scored("c", 10, 0.7), Scored("d", 3, 0.6)


def test_front_has_the_unbeaten_alone() -> None:
    """A model that costs as much and scores less is beaten; equals are not."""
    twin = Scored("e", 10, 0.8)
    assert pareto_front([GOOD, BEATEN, CHEAP, MIDDLE, twin]) == [CHEAP, MIDDLE, GOOD, twin]


def test_points_lie_inside_and_in_order() -> None:
    """Dearer is further right, better is higher, and all lie between the axes."""
    chart = draw_scatter("ms", [CHEAP, MIDDLE, GOOD, BEATEN])
    points = {point.name: point for point in chart.points}
    assert LEFT < points["a"].x < points["d"].x < points["b"].x == points["c"].x < RIGHT
    assert BOTTOM >= points["a"].y > points["d"].y > points["c"].y > points["b"].y >= TOP
    assert [point.name for point in chart.points if point.best] == ["a", "d", "b"]
    assert len(chart.front.split()) == 3
    assert "mIoU 80.0%" in points["b"].note


@pytest.mark.parametrize(("cost", "score"), [(1.0, 0.0), (1000.0, 1.0), (0.002, 0.5), (7.3, 0.1)])
def test_one_model_is_enough(cost: float, score: float) -> None:
    """Round values, and a single model, leave room between the ticks."""
    (point,) = draw_scatter("ms", [Scored("a", cost, score)]).points
    assert LEFT < point.x < RIGHT
    assert TOP <= point.y <= BOTTOM


def test_ticks_are_round() -> None:
    """The axes have lines at 1, 2, 5 and at tenths."""
    chart = draw_scatter("ms", [CHEAP, GOOD])
    assert [tick.label for tick in chart.x_ticks] == ["0.5", "1", "2", "5", "10", "20"]
    assert [tick.label for tick in chart.y_ticks] == ["50%", "60%", "70%", "80%"]
