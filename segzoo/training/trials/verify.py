"""Whether a run that is killed and resumed ends with the same bits, tried on a user's own recipe."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from segzoo.errors import SegzooError, UsageFault
from segzoo.recipe import Recipe, recipe_json
from segzoo.runtime.launch import refuse_launcher

UNTIMED = ("images_per_second", "data_wait", "seconds")
"""What two runs never share."""


class Difference(NamedTuple):
    """Something that the resumed run has otherwise than the one that was not stopped."""

    what: str
    detail: str


def verify_resume(recipe: Recipe, folder: Path, *, device: str, steps: int) -> list[Difference]:
    """Run a few steps through, and again killed halfway and resumed, and return how the results differ.

    Args:
        recipe: A resolved recipe.
        folder: An empty folder for both runs.
        device: ``auto``, or a torch device.
        steps: Optimizer steps; the second run is killed after half of them, between two checkpoints.

    Raises:
        UsageFault: If there are too few steps.
        SegzooError: If a run fails by itself.
    """
    refuse_launcher("verify-resume")
    if steps < 4:
        raise UsageFault(f"--steps {steps}: at least 4 are needed, to be killed between two checkpoints")
    kill = steps // 2 + 1
    train = recipe.train.model_copy(update={"max_steps": steps, "checkpoint_every_steps": kill - 1})
    path = folder / "recipe.json"
    path.write_text(recipe_json(recipe.model_copy(update={"train": train})), encoding="utf-8")
    through, resumed = folder / "through", folder / "resumed"
    _train(path, through, device)
    _train(path, resumed, device, kill=kill)
    _train(path, resumed, device, resume=True)
    return list(_differences(through, resumed))


def _train(recipe: Path, out: Path, device: str, *, kill: int | None = None, resume: bool = False) -> None:
    """Train in a process of its own, with its errors on stderr."""
    if kill is None:
        options = ["--out", str(out), "--device", device, *(["--resume"] if resume else [])]
        words = ["segzoo", "finetune", str(recipe), *options]
    else:
        words = ["segzoo.training.trials.killed_run", str(recipe), str(out), device, str(kill)]
    done = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.DEVNULL, check=False)
    expected = 0 if kill is None else -signal.SIGKILL
    if done.returncode != expected:
        raise SegzooError(f"the run in {out} ended with {done.returncode}, not with {expected}: see above")


def _differences(left: Path, right: Path) -> Iterator[Difference]:
    from segzoo.runs.checkpoint import LAST, read_checkpoint

    states = [read_checkpoint(run / "checkpoints" / LAST) for run in (left, right)]
    for part in ("model", "optimizer", "average", "scaler"):
        yield from _compare(states[0][part], states[1][part], part)
    rows = [_untimed_rows(run / "metrics.jsonl") for run in (left, right)]
    if rows[0] != rows[1]:
        yield Difference("metrics.jsonl", f"{rows[0]} and {rows[1]}")


def _compare(left: Any, right: Any, path: str) -> Iterator[Difference]:  # noqa: ANN401 - nested containers of tensors
    import torch

    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        if not torch.equal(left, right):
            apart = (left.double() - right.double()).abs().max().item() if left.shape == right.shape else None
            yield Difference(path, f"largest difference {apart}" if apart is not None else "another shape")
    elif isinstance(left, dict) and isinstance(right, dict):
        for key in left.keys() | right.keys():
            yield from _compare(left.get(key), right.get(key), f"{path}.{key}")
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        for place, pair in enumerate(zip(left, right, strict=True)):
            yield from _compare(*pair, f"{path}.{place}")
    elif left != right:
        yield Difference(path, f"{left!r} and {right!r}")


def _untimed_rows(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key not in UNTIMED} for row in rows]
