"""Trains in forked children that are killed at chosen places; run as a script by test_resume.py.

Usage: python interrupted_run.py RECIPE OUT PLACE [PLACE …], where a place is ``<method of the trainer>:<count>``: the
child is killed with SIGKILL right after the method's count-th call in it; ``end`` runs to the end.

The parent imports everything once and never computes, so that each child begins without the seconds of importing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import segzoo
import segzoo.training.session
from segzoo.training.loop import Trainer
from segzoo.training.rundir import RunDirectory

OWNERS = {"append_row": RunDirectory}


def kill_after(place: str) -> None:
    """Make this process die right after a method's count-th call."""
    name, _, count = place.partition(":")
    owner: Any = OWNERS.get(name, Trainer)
    method: Callable[..., Any] = getattr(owner, name)
    left = int(count)

    def dying(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal left
        result = method(self, *arguments, **options)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


def train(recipe: str, out: str, place: str) -> None:
    """Train in a child and check that it ended as asked."""
    child = os.fork()
    if child == 0:
        if place != "end":
            kill_after(place)
        segzoo.finetune(segzoo.load_recipe(recipe), out=out, device="cpu", resume=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    expected = 0 if place == "end" else -signal.SIGKILL
    if status != expected:
        raise SystemExit(f"{place}: ended with {status}, expected {expected}")


if __name__ == "__main__":
    for place in sys.argv[3:]:
        train(sys.argv[1], sys.argv[2], place)
