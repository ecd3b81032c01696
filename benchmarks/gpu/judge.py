"""The figures of each part, and the goals that they have to reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gpu.part import Evidence, Figure
from segzoo.bench.rows import Row
from segzoo.bench.summary import summarise

TOLERANCE = 0.02
"""Share by which segzoo's clock may differ from triton's."""

THROUGHPUT = {"step": 0.95, "plain": 3.0}
"""Ratio of segzoo's training loop to the bare step, and to a plain loop in float32."""


class Goal(NamedTuple):
    """How much faster than eager float32 one image is to be in mode ``best``."""

    model: str
    size: tuple[int, int]
    times: float


GOALS = (
    Goal("segzoo/unet_resnet34", (512, 512), 4.0),
    Goal("segzoo/deeplabv3plus_mobilenet_v2", (512, 512), 4.0),
    Goal("segzoo/segnet", (352, 480), 2.9),
    Goal("segzoo/fast_scnn", (1024, 2048), 2.3),
)


def no_goal(_: Evidence) -> list[Figure]:
    """Return no figures."""
    return []


def failures(evidence: Evidence) -> list[Figure]:
    """Count the measurements with figures, those that a device cannot do, and those that failed."""
    counts = Counter(row.status for row in evidence.rows)
    failed = sum(count for status, count in counts.items() if status not in ("ok", "unsupported"))
    return [
        Figure("measurements", counts["ok"]),
        Figure("unsupported measurements", counts["unsupported"]),
        Figure("failed measurements", failed, 0, at_most=True),
    ]


def latency(evidence: Evidence) -> list[Figure]:
    """Return by how much mode ``best`` is faster than ``eager``, with one image at a time."""
    found = gains(evidence.rows)
    measured = {row.model for row in evidence.rows}
    goals = [goal for goal in GOALS if not evidence.setup.tiny or goal.model in measured]
    return [Figure(f"{short(goal.model)}: best over eager", found.get(goal.model), goal.times) for goal in goals]


def latencies(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Return the milliseconds of one image by model and mode."""
    found: dict[str, dict[str, float]] = {}
    for each in summarise(rows):
        if each.kind != "throughput" and each.latency_ms is not None:
            found.setdefault(each.model, {})[each.mode] = each.latency_ms
    return found


def gains(rows: Iterable[Row]) -> dict[str, float]:
    """Return by how much each model that has figures of both is faster in ``best`` than in ``eager``."""
    known = latencies(rows)
    return {name: times["eager"] / times["best"] for name, times in known.items() if {"eager", "best"} <= times.keys()}


def tests(evidence: Evidence) -> list[Figure]:
    """Count the outcomes of tests; at least one has to pass, and none may fail."""
    counts = Counter(found["outcome"] for found in evidence.found.get("tests", {}).values())
    return [
        Figure("tests passed", counts["passed"], 1),
        Figure("tests skipped", counts["skipped"]),
        Figure("tests failed", counts["failed"], 0, at_most=True),
    ]


def no_sync(evidence: Evidence) -> list[Figure]:
    """Count the cases that wait for the device, and those that were tried."""
    cases: Sequence[dict[str, object]] = evidence.found.get("cases", [])
    expected = evidence.found.get("expected")
    waiting = sum(case["wait"] is not None for case in cases)
    return [
        Figure("cases tried", len(cases) if cases else None, expected or 1),
        Figure("cases that wait for the device", waiting if cases else None, 0, at_most=True),
    ]


def throughput(evidence: Evidence) -> list[Figure]:
    """Return the ratios of segzoo's training loop to the other sides."""
    ratios = evidence.found.get("ratios", {})
    return [Figure(f"segzoo over {side}", ratios.get(side), goal) for side, goal in THROUGHPUT.items()]


def agreement(evidence: Evidence) -> list[Figure]:
    """Return the share by which the clocks differ, for each model and mode."""
    return [
        Figure(f"{short(each['model'])}, {each['mode']}: clocks differ by", each["difference"], TOLERANCE, at_most=True)
        for each in evidence.found.get("clocks", [])
    ] or [Figure("clocks differ by", None, TOLERANCE, at_most=True)]


def training(evidence: Evidence) -> list[Figure]:
    """Return the best mIoU of a run, and its epochs."""
    epochs = evidence.epochs
    scores = [row["mean_iou"] for row in epochs if row["mean_iou"] is not None]
    return [Figure("epochs", len(epochs)), Figure("best mIoU", max(scores, default=None))]


def short(model: str) -> str:
    """Return the name of a model without its origin."""
    return model.rpartition("/")[2]
