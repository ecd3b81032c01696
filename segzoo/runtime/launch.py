"""What a launcher such as torchrun has told this process of the others.

This module needs no torch, so that a refused run ends at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from segzoo.errors import SegzooError, UsageFault

VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK")

TURN_SECONDS = 10.0
"""How long another process lets the first one speak before it tells of a fault that both may have met."""


@dataclass(frozen=True)
class Launch:
    """The place of this process among those of a run.

    Args:
        rank: Its number, from 0; the first one writes and speaks for all.
        size: How many there are.
        local_rank: Its number on this machine, from 0.
        local_size: How many there are on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0


class ToldByFirst(SegzooError):  # noqa: N818 - as in segzoo.errors
    """The first process reports the fault; this one ends with the same code and no message."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.exit_code = getattr(error, "exit_code", 1)


def read_launch() -> Launch:
    """Return what the environment says; without a launcher, a process alone.

    Raises:
        UsageFault: If ``WORLD_SIZE`` is above 1 and the rest is missing or no number that fits.
    """
    if not _launched():
        return Launch()
    try:
        size, rank, local_size, local_rank = (int(os.environ[name]) for name in VARIABLES)
        fits = 0 <= local_rank < local_size <= size and 0 <= rank < size
    except (KeyError, ValueError):
        fits = False
    if not fits:
        found = ", ".join(f"{name}={os.environ.get(name, '')}" for name in VARIABLES)
        raise UsageFault(
            f"the environment of a launcher is not whole: {found}; start the processes with torchrun "
            "--nproc-per-node N -m segzoo finetune RECIPE, or unset WORLD_SIZE"
        )
    return Launch(rank, size, local_rank, local_size)


def refuse_launcher(what: str) -> None:
    """Refuse to run several copies of what runs in one process.

    Raises:
        UsageFault: If a launcher started more than one.
    """
    if _launched():
        raise UsageFault(
            f"{what} runs in one process, but WORLD_SIZE is {os.environ['WORLD_SIZE']}: start it without torchrun"
        )


def follows() -> bool:
    """Say whether this process was launched beside another one that speaks for both."""
    return _launched() and os.environ.get("RANK", "0") != "0"


def _launched() -> bool:
    return os.environ.get("WORLD_SIZE", "1") != "1"
