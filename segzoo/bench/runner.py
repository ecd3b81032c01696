"""The sweep: one process for each model and repeat, and a file that keeps every finished row.

This module needs no torch.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from segzoo.bench.conditions import Conditions
from segzoo.bench.environment import describe_environment, environment_key
from segzoo.bench.rows import Measurement, Request, Row, Settings, append_row, measurement_of, planned, read_rows
from segzoo.bench.worker import CHILD, Ending, Worker
from segzoo.errors import RunDirectoryError, UsageFault
from segzoo.files import exclusive_lock, naming

logger = logging.getLogger(__name__)

IN_CHANNELS = 3
"""Channels that a row names where its model was never built."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep measures.

    Args:
        models: Full ids and run directories.
        settings: How each is measured.
        device: The torch device, by the name that rows have.
        repeats: In how many processes each model is measured.
        timeout: Seconds in which a process must give its next row.
        command: What a process runs.
    """

    models: Sequence[str]
    settings: Settings
    device: str
    repeats: int
    timeout: float
    command: Sequence[str] = CHILD

    def order(self) -> list[tuple[str, int]]:
        """Return each (model, repeat); every repeat has a random order of its own, which the seed decides."""
        turns = []
        for repeat in range(self.repeats):
            models = list(self.models)
            random.Random(f"{self.settings.seed} {repeat}").shuffle(models)
            turns += [(model, repeat) for model in models]
        return turns


def run_sweep(sweep: Sweep, path: Path) -> list[Row]:
    """Measure what a file of rows does not hold yet, and return the sweep's rows.

    A model that crashes, hangs or runs out of memory gets rows that say so; the next is measured all the same.

    Args:
        sweep: What is measured.
        path: Gets a line for each row when it is done; rows of the same models, settings and environment are kept.

    Raises:
        UsageFault: If the file is no file of rows, or another sweep writes it.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive_lock(path.parent / f".{path.name}.lock"):
            return _Recorder(sweep, path).run()
    except RunDirectoryError:
        raise UsageFault(f"another sweep writes {path}; wait for it, or choose another --out") from None


class _Recorder:
    """Goes through a sweep and writes its file."""

    def __init__(self, sweep: Sweep, path: Path) -> None:
        self._sweep, self._path = sweep, path
        self._environment = describe_environment(sweep.device)
        self._key = environment_key(self._environment)
        self._rows = [row for row in (read_rows(path) if path.exists() else ()) if self._belongs(row)]

    def run(self) -> list[Row]:
        order, conditions = self._sweep.order(), Conditions(self._sweep.device)
        kept = len(self._rows)
        if kept:
            logger.info("%s has %d of these rows already", self._path, kept)
        for number, (model, repeat) in enumerate(order, start=1):
            if not self._missing(model, repeat):
                continue
            conditions.before(first=len(self._rows) == kept)
            logger.info("%d/%d %s, repeat %d", number, len(order), model, repeat)
            self._measure(model, repeat)
            conditions.after(model)
        return self._rows

    def _belongs(self, row: Row) -> bool:
        sweep = self._sweep
        asked = row.model in sweep.models and row.repeat < sweep.repeats
        return asked and row.settings == sweep.settings and row.environment_key == self._key

    def _missing(self, model: str, repeat: int) -> list[Measurement]:
        done = {measurement_of(row) for row in self._rows if (row.model, row.repeat) == (model, repeat)}
        return [measurement for measurement in planned(self._sweep.settings) if measurement not in done]

    def _measure(self, model: str, repeat: int) -> None:
        """Measure all modes of a model; where a process dies in one of them, another goes on with the next."""
        while missing := self._missing(model, repeat):
            first = len(self._rows)
            ending = self._run_process(model, repeat, missing)
            if ending is None and self._missing(model, repeat):
                ending = Ending("crash", "the process ended well, but without all of its rows")
            if ending is None:
                return
            missing = self._missing(model, repeat)
            # What gives no row at all fails in every mode; otherwise the mode at hand is at fault.
            lost = [each for each in missing if len(self._rows) == first or each.mode == missing[0].mode]
            if lost:
                logger.warning("%s: %s: %s", model, ending.status, ending.error)
            for measurement in lost:
                self._keep(self._failure(model, repeat, measurement, ending))

    def _run_process(self, model: str, repeat: int, missing: Sequence[Measurement]) -> Ending | None:
        """Keep the rows of one process, and return what went wrong."""
        modes = tuple(dict.fromkeys(measurement.mode for measurement in missing))
        settings = self._sweep.settings.model_copy(update={"modes": modes})
        request = Request(model=model, repeat=repeat, settings=settings, device=self._sweep.device)
        wanted = set(missing)
        with Worker(self._sweep.command, request, timeout=self._sweep.timeout) as worker:
            for line in worker.lines():
                try:
                    row = Row.model_validate_json(line)
                except ValidationError:
                    return Ending("crash", f"the process wrote what is no row: {line[:80]!r}")
                if measurement_of(row) in wanted:
                    wanted.remove(measurement_of(row))
                    self._keep(row.model_copy(update={"settings": self._sweep.settings}))
            return worker.ending()

    def _keep(self, row: Row) -> None:
        with naming(self._path):
            append_row(self._path, row)
        self._rows.append(row)

    def _failure(self, model: str, repeat: int, measurement: Measurement, ending: Ending) -> Row:
        """Return the row of a measurement that its process did not live to write."""
        sweep = self._sweep
        known = next((row for row in reversed(self._rows) if row.model == model), None)
        return Row(
            model=model,
            parameters=known.parameters if known else None,
            gmacs=known.gmacs if known else None,
            bytes_moved=known.bytes_moved if known else None,
            operations=known.operations if known else None,
            input=known.input if known else (IN_CHANNELS, *sweep.settings.size),
            device=sweep.device,
            mode=measurement.mode,
            kind=measurement.kind,
            batch_size=measurement.batch_size,
            status=ending.status,
            error=ending.error,
            repeat=repeat,
            settings=sweep.settings,
            environment=self._environment,
            environment_key=self._key,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
