"""Stop signals on which all processes of a run agree."""

from __future__ import annotations

from typing import NoReturn

from segzoo.errors import Interrupted
from segzoo.runs.rundir import RunDirectory
from segzoo.runtime.distributed import World
from segzoo.runtime.signals import StopRequest
from segzoo.training.state import State


class AgreedStop:
    """Lets all processes of a run end after the same step, whichever of them a signal reached.

    Args:
        request: Set by a signal that reaches this process.
        world: The processes of the run.
        run: The run directory, for the command that resumes the run.
        state: The state of the run, for the step in the message.
    """

    def __init__(self, request: StopRequest, world: World, run: RunDirectory, state: State) -> None:
        self.request = request
        self._world = world
        self._run = run
        self._state = state
        self._signum: int | None = None

    def check(self) -> bool:
        """Return whether any process received a stop signal. Collective: call it at the same point on every rank."""
        self._signum = self._world.agree(self.request.signum)
        return self._signum is not None

    def leave_if_agreed(self) -> None:
        """End the run if the last check found a signal; the state has to be saved.

        Raises:
            Interrupted: With the signal's number, and the command that resumes the run.
        """
        if self._signum is not None:
            self._leave(self._signum)

    def leave_if_asked(self) -> None:
        """Check, and end the run if there is a signal. Collective.

        Raises:
            Interrupted: As :meth:`leave_if_agreed` does.
        """
        self.check()
        self.leave_if_agreed()

    def _leave(self, signum: int) -> NoReturn:
        self._world.wait()  # one that ends early would have the launcher end the one that saves
        command = "segzoo" if self._world.size == 1 else "torchrun … -m segzoo"
        raise Interrupted(
            signum,
            f"stopped by a signal after step {self._state.step}; the state is saved, "
            f"go on with: {command} finetune {self._run.recipe_path} --out {self._run.folder} --resume",
        )
