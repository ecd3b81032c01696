"""``python -m segzoo.training.trials.killed_run RECIPE OUT DEVICE STEPS``: train, and die after some steps.

``segzoo verify-resume`` starts it: the process ends as one does whose machine fails, in the middle of a run.
"""

from __future__ import annotations

import os
import signal
import sys

from segzoo.recipe import load_recipe
from segzoo.runtime.signals import StopRequest
from segzoo.training.finetune import train_recipe


class KilledAfterSteps(StopRequest):
    """Kills its own process.

    Args:
        steps: How many steps the process makes before.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    def after_step(self) -> None:
        """Count a step."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main(recipe: str, out: str, device: str, steps: str) -> None:
    """Train until the process is killed; return where the run has fewer steps."""
    train_recipe(load_recipe(recipe), out=out, device=device, stop=KilledAfterSteps(int(steps)))


if __name__ == "__main__":
    main(*sys.argv[1:])
