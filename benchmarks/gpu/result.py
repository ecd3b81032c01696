"""The result file of a part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from gpu.part import Evidence, Figure, Part, Setup, Words
from segzoo.environment import Environment
from segzoo.errors import UsageFault
from segzoo.files import write_atomic

Status = Literal["done", "failed", "timeout", "skipped"]


@dataclass(frozen=True)
class Result:
    """What became of a part.

    Args:
        part: The part's name.
        status: ``done``, ``failed``, ``timeout`` where its time was up, ``skipped`` where it did not start.
        reason: Why it is not done, or where it ended; None where there is nothing to say.
        seconds: How long it ran, in all calls since it was last started from nothing.
        commands: What was run.
        figures: What it found.
        tiny: Whether it was shrunk.
        environment: Versions and machine.
        found: What its script wrote.
    """

    part: str
    status: Status
    reason: str | None = None
    seconds: float = 0.0
    commands: Sequence[Words] = ()
    figures: Sequence[Figure] = ()
    tiny: bool = False
    environment: Environment | None = None
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether nothing failed, nothing was too slow, and every goal is met."""
        return self.status in ("done", "skipped") and all(figure.met is not False for figure in self.figures)

    def key(self) -> tuple[object, ...]:
        """Return what the results of one folder share: size, GPUs and torch."""
        return key_of(self.environment, tiny=self.tiny)

    def write(self, path: Path) -> None:
        """Write the file, in one piece."""
        figures = [{**figure._asdict(), "met": figure.met} for figure in self.figures]
        write_atomic(path, json.dumps({**asdict(self), "figures": figures}, indent=2) + "\n")


def key_of(environment: Environment | None, *, tiny: bool) -> tuple[object, ...]:
    """Return what the results of one folder share; see :meth:`Result.key`."""
    if environment is None:
        return (tiny,)
    names = tuple(gpu["name"] for gpu in environment["machine"]["gpus"])
    return (tiny, names, environment["versions"]["torch"])


def path_of(setup: Setup, part: Part) -> Path:
    """Return the file of a part's result."""
    return setup.out / f"{part.name}.json"


def read(setup: Setup, part: Part) -> Result | None:
    """Return the result of a part; None where there is none.

    Raises:
        UsageFault: If the file is something else.
    """
    path = path_of(setup, part)
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
        figures = [Figure(**{key: figure[key] for key in Figure._fields}) for figure in found["figures"]]
        return Result(**{**found, "figures": figures, "commands": tuple(map(tuple, found["commands"]))})
    except (ValueError, TypeError, KeyError) as error:
        raise UsageFault(f"{path} is no result of this plan: {error!r}; choose another --out") from error


def collect(setup: Setup, part: Part) -> tuple[Sequence[Figure], dict[str, Any]]:
    """Return the figures of a part, and what its script found."""
    evidence = Evidence(setup, part.name)
    return part.judge(evidence), evidence.found


def clear(setup: Setup, part: Part) -> None:
    """Delete all that earlier runs of a part have left."""
    for path in (path_of(setup, part), setup.rows(part.name), setup.found(part.name), setup.log(part.name)):
        path.unlink(missing_ok=True)
    shutil.rmtree(setup.run(part.name), ignore_errors=True)
