"""What is measured of each model, one row for each measurement, and the file of rows.

This module needs no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, JsonValue, ValidationError

from segzoo.errors import UsageFault
from segzoo.files import sync_folder
from segzoo.inference.ways import Trial, Way
from segzoo.messages import explain
from segzoo.spec import Frozen

Mode = Literal["eager", "channels_last", "bf16", "compile", "graph", "best"]
Kind = Literal["latency", "throughput", "graph"]
Status = Literal["ok", "oom", "timeout", "crash", "unsupported"]

Positive = Annotated[int, Field(ge=1)]

SAMPLES_KEPT = 200
"""How many samples a row holds at most; they are spread over all that were taken."""

OUT_OF_MEMORY = 12
"""The exit code of a process that ran out of memory before it could measure; errno's ENOMEM."""


class Settings(Frozen):
    """What decides on a measurement beside the model and the machine.

    Args:
        size: Height and width of the image in pixels.
        batches: Batch sizes of the throughput, each once; the latency is always that of batch 1.
        modes: How the models are run.
        seed: Decides on weights, images and the order of the models.
        quick: Leaves out what takes seconds by itself: energy, and peaks of large operations.
        min_samples: Samples that are taken at least.
        min_seconds: How long sampling lasts at least.
        max_seconds: After how long sampling ends without having converged.
    """

    size: tuple[Positive, Positive] = (512, 512)
    batches: tuple[Positive, ...] = (1, 8, 32)
    modes: tuple[Mode, ...] = Field(default=("eager",), min_length=1)
    seed: int = Field(default=0, ge=0)
    quick: bool = False
    min_samples: Positive = 30
    min_seconds: float = Field(default=1.0, ge=0)
    max_seconds: float = Field(default=20.0, gt=0)


class Request(Frozen):
    """What one child process is asked to measure.

    Args:
        model: A model's name or full id, or a run directory.
        repeat: The number of this repeat, from 0.
        settings: How it is measured.
        device: A torch device, or ``"auto"``.
    """

    model: str
    repeat: int = Field(ge=0)
    settings: Settings
    device: str


class Row(Frozen):
    """One measured (model, mode, kind, batch size, repeat).

    Args:
        model: Full id, or the run directory as it was named.
        parameters: How many parameters the model has; None where it could not be counted.
        gmacs: 10^9 multiply-accumulates for one image; None where it could not be counted.
        bytes_moved: Bytes that the operations on one image read and write in float32; None as above.
        operations: How many operations touch data for it; None as above.
        input: Channels, height and width of an image.
        device: The torch device.
        mode: How the model was run.
        way: The same in full; in mode ``best`` the fastest way that was found. None where nothing was measured.
        trials: In mode ``best``, what came of every way that was tried.
        kind: ``latency`` is one batch of 1 image, waited for; ``graph`` the same by a replayed CUDA graph;
            ``throughput`` batches back to back.
        batch_size: Images in a batch, as asked for.
        effective_batch: Images in a batch that the memory had room for; None where nothing was measured.
        latency_ms: Median time of a batch.
        interval_ms: 95 % confidence interval of that median.
        samples: How many samples the median is of.
        samples_ms: At most ``SAMPLES_KEPT`` of them, in the order in which they were taken.
        images_per_second: Effective batch over median.
        converged: Whether the interval became narrow enough before the time was up.
        status: What became of the measurement.
        error: Why there are no figures; None where there are.
        compile_seconds: How long the first call of a compiled model took, without any cache; no sample includes it.
        memory_allocated: Peak bytes of tensors on the device; None on the CPU.
        memory_reserved: Peak bytes that the device's allocator held; on the CPU, of the process in memory.
        energy_joules_per_image: Above idle; None where it was not measured.
        repeat: The number of the process that measured it, from 0.
        settings: How it was measured.
        environment: Versions, machine, flags; what changes by itself, such as clocks, is under ``state``.
        environment_key: Equal for rows that can be compared.
        started: When the measurement began, in ISO 8601.
    """

    model: str
    parameters: int | None = None
    gmacs: float | None = None
    bytes_moved: int | None = None
    operations: int | None = None
    input: tuple[int, int, int]
    device: str
    mode: Mode
    way: Way | None = None
    trials: tuple[Trial, ...] = ()
    kind: Kind
    batch_size: Positive
    effective_batch: Positive | None = None
    latency_ms: float | None = None
    interval_ms: tuple[float, float] | None = None
    samples: int = 0
    samples_ms: tuple[float, ...] = Field(default=(), max_length=SAMPLES_KEPT)
    images_per_second: float | None = None
    converged: bool = False
    status: Status
    error: str | None = None
    compile_seconds: float | None = None
    memory_allocated: int | None = None
    memory_reserved: int | None = None
    energy_joules_per_image: float | None = None
    repeat: int = Field(ge=0)
    settings: Settings
    environment: dict[str, JsonValue]
    environment_key: str
    started: str


class Measurement(NamedTuple):
    """One row of a model that a process writes."""

    mode: Mode
    kind: Kind
    batch_size: int


def planned(settings: Settings) -> list[Measurement]:
    """Return the measurements of a model in the order in which its process makes them."""
    return [Measurement(mode, kind, batch) for mode in settings.modes for kind, batch in _of_mode(mode, settings)]


def measurement_of(row: Row) -> Measurement:
    """Return which measurement a row is."""
    return Measurement(row.mode, row.kind, row.batch_size)


def _of_mode(mode: Mode, settings: Settings) -> Iterator[tuple[Kind, int]]:
    # A latency is that of one image, and comes first.
    yield ("graph" if mode == "graph" else "latency"), 1
    yield from (("throughput", batch) for batch in sorted(set(settings.batches)))


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; a last line that was cut off is left out.

    Raises:
        UsageFault: If the file cannot be read, or a line is no row; it names the line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageFault(f"{path} cannot be read: {error.strerror}") from error
    # What follows the last newline is empty, or was being written when its writer ended.
    return [_row(path, number, line) for number, line in enumerate(lines[:-1], start=1) if line.strip()]


def append_row(path: Path, row: Row) -> None:
    """Add a row to a file and wait until the disk has it; what was cut off at its end is overwritten.

    The file has one writer.
    """
    new = not path.exists()
    with path.open("ab+") as file:
        file.truncate(_end_of_last_line(path.read_bytes()))
        file.write(row.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def _end_of_last_line(content: bytes) -> int:
    return content.rfind(b"\n") + 1


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        return Row.model_validate_json(line)
    except ValidationError as error:
        raise UsageFault(f"{path}, line {number}, is no row of a benchmark: {explain(error, Row, None)}") from None
