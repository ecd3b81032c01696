"""How good the models of runs are, to stand beside what they cost.

This module needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segzoo.bench.selection import is_run
from segzoo.pretrained import DESCRIPTION


@dataclass(frozen=True)
class Accuracy:
    """The score of a run.

    Args:
        run: Its directory, as it was named.
        model: The full id of its model.
        mean_iou: From 0 to 1.
    """

    run: str
    model: str
    mean_iou: float


def read_accuracy(run: str) -> Accuracy | None:
    """Return the score of a run directory, or None where it is none or has none."""
    for path in (Path(run) / "model" / DESCRIPTION, Path(run) / DESCRIPTION):
        try:
            described = json.loads(path.read_bytes())
            return Accuracy(run, str(described["id"]), float(described["metrics"]["mean_iou"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def accuracies(models: Iterable[str], runs: Iterable[str]) -> dict[str, Accuracy]:
    """Return the score of each measured model, where it has one.

    Args:
        models: What was measured: ids, and run directories, which have scores of their own.
        runs: Directories whose scores stand for the models of their kind; the best where there are several.
    """
    known = [found for run in runs if (found := read_accuracy(run))]
    scored: dict[str, Accuracy] = {}
    for model in models:
        own = read_accuracy(model) if is_run(model) else None
        fitting = [own] if own else [each for each in known if each.model == model]
        if fitting:
            scored[model] = max(fitting, key=lambda each: each.mean_iou)
    return scored
