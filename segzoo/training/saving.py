"""Saving and restoring everything that a resumed run needs."""

from __future__ import annotations

from itertools import chain
from typing import Any

from segzoo.runs.checkpoint import BEST, read_checkpoint, save_checkpoint
from segzoo.runs.rundir import RunDirectory
from segzoo.runtime.distributed import World
from segzoo.training.freezing import Freezer
from segzoo.training.guard import Guard
from segzoo.training.parts import Parts
from segzoo.training.state import State
from segzoo.training.steps.optimizers import restore_optimizer


class Saving:
    """Saves and restores the state of a run.

    Args:
        parts: The model, the optimizer and the moving average.
        state: Counters, sums and scores.
        freezer: Knows the checksums of what is frozen.
        guard: Knows the sum of the losses.
        run: Where checkpoints are written.
        environment: Device and thread count, kept in each checkpoint.
        world: The processes of the run; the first one writes.
    """

    def __init__(
        self,
        parts: Parts,
        state: State,
        freezer: Freezer,
        guard: Guard,
        run: RunDirectory,
        environment: dict[str, Any],
        world: World,
    ) -> None:
        self.parts = parts
        self._state = state
        self._freezer = freezer
        self._guard = guard
        self._run = run
        self._environment = environment
        self._world = world

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint, and keep it as the best one too if it is."""
        if not self._world.first:
            return
        self._state.loss_sum = self._guard.total
        average = self.parts.average
        saved = {
            "model": self.parts.model.state_dict(),
            "optimizer": self.parts.optimizer.state_dict(),
            "scaler": self.parts.scaler.state_dict(),
            "average": None if average is None else average.model.state_dict(),
            "frozen": self._freezer.digests,
            "state": dict(vars(self._state)),
            "environment": self._environment,
        }
        save_checkpoint(self._run.checkpoints, saved, best=best)

    def restore(self, saved: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        parts, state = self.parts, self._state
        parts.model.load_state_dict(saved["model"])
        restore_optimizer(parts.optimizer, saved["optimizer"])
        parts.scaler.load_state_dict(saved["scaler"])
        if parts.average is not None:
            parts.average.model.load_state_dict(saved["average"])
        self._freezer.digests = saved["frozen"]
        vars(state).update(saved["state"])
        self._guard.reset(state.loss_sum)
        if state.step % parts.data.plan.steps_per_epoch and state.step < parts.total_steps:
            # A longer run resumes in an epoch that was cut short and validated: it gets its line again.
            state.epochs_done = state.step // parts.data.plan.steps_per_epoch
        if self._world.first:
            self._run.drop_after(state.epochs_done)

    def load_best(self) -> None:
        """Load the best weights into the model that is scored. Collective."""
        scored = self.parts.scored
        if self._world.first:
            saved = read_checkpoint(self._run.checkpoints / BEST)
            scored.load_state_dict(saved["model" if self.parts.average is None else "average"])
        self._world.share(chain(scored.parameters(), scored.buffers()))
