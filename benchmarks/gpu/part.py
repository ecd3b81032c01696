"""What a part of the GPU plan is: commands, a limit, and figures with goals."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from segzoo.bench.rows import Row, read_rows

ROOT = Path(__file__).resolve().parents[2]

Words = tuple[str, ...]


class Figure(NamedTuple):
    """A number that a part found, and its goal.

    Args:
        what: What the number is.
        value: The number; None where it could not be measured.
        goal: What it has to reach; None where there is no goal.
        at_most: Whether the goal is an upper limit, not a lower one.
    """

    what: str
    value: float | None
    goal: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal. A number that is not known meets none."""
        if self.goal is None:
            return None
        if self.value is None:
            return False
        return self.value <= self.goal if self.at_most else self.value >= self.goal


@dataclass(frozen=True)
class Setup:
    """How the plan is run.

    Args:
        out: The folder of results.
        tiny: Whether every part is shrunk to what shows that it runs.
        camvid: The folder of CamVid; None skips its recipes.
    """

    out: Path
    tiny: bool = False
    camvid: Path | None = None

    def rows(self, part: str) -> Path:
        """Return the file to which ``segzoo bench`` writes the rows of a part."""
        return self.out / f"{part}.jsonl"

    def found(self, part: str) -> Path:
        """Return the file to which the script of a part writes what it found."""
        return self.out / f"{part}.found.json"

    def run(self, part: str) -> Path:
        """Return the run directory of a part that trains."""
        return self.out / "runs" / part

    def log(self, part: str) -> Path:
        """Return the file of what the commands of a part print."""
        return self.out / "logs" / f"{part}.log"


@dataclass(frozen=True)
class Evidence:
    """What the commands of a part have left behind.

    Args:
        setup: How the plan is run.
        part: The part's name.
    """

    setup: Setup
    part: str

    @property
    def rows(self) -> list[Row]:
        """The rows of ``segzoo bench``."""
        path = self.setup.rows(self.part)
        return read_rows(path) if path.is_file() else []

    @property
    def found(self) -> dict[str, Any]:
        """What the part's script found; empty where there is nothing."""
        path = self.setup.found(self.part)
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl`` in the part's run directory."""
        path = self.setup.run(self.part) / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def shown(words: Sequence[str]) -> Words:
    """Return a command as it is typed in the repository's root, without the folders of this machine."""
    return tuple("python" if word == sys.executable else word.removeprefix(f"{ROOT}{os.sep}") for word in words)


def nothing(_: Setup) -> None:
    """Return that a part lacks nothing."""


@dataclass(frozen=True)
class Part:
    """One line of the plan.

    Args:
        name: Names the result file.
        minutes: The limit of its commands together. A part that ``ends_at_limit`` has it once, all others in each call.
        least: Minutes that must be left for the part to start.
        commands: Returns the commands, which run one after the other.
        judge: Returns the figures.
        lacks: Returns why the part cannot run; None where it can.
        ends_at_limit: Whether the limit is the intended end, as for training, which saves and stops.
    """

    name: str
    minutes: float
    least: float
    commands: Callable[[Setup, str], Sequence[Words]]
    judge: Callable[[Evidence], Sequence[Figure]]
    lacks: Callable[[Setup], str | None] = nothing
    ends_at_limit: bool = False
