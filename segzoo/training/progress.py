"""What a person sees while a run goes on: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)


class Pace(NamedTuple):
    """How an epoch goes.

    Args:
        loss: Mean training loss of the epoch, when it was last read; None before that.
        images_per_second: Images trained on in a second.
        data_wait: Share of the time that was spent on waiting for data.
    """

    loss: float | None
    images_per_second: float
    data_wait: float


class Display:
    """Shows steps and epochs on stderr.

    Args:
        bar: The bar, where stderr is a terminal.
        total: Steps in the run.
        done: Steps that were done before.
        epochs: Epochs in the run.
    """

    def __init__(self, bar: Progress | None, *, total: int, done: int, epochs: int) -> None:
        self._bar = bar
        self._epochs = epochs
        self._task = bar.add_task("", total=total, completed=done) if bar else None
        self._mean_iou: float | None = None
        self._pace = Pace(None, 0.0, 0.0)

    def advance(self, pace: Pace) -> None:
        """Count one step, after which the epoch goes like this."""
        if self._bar is not None and self._task is not None:
            self._pace = pace
            self._bar.update(self._task, advance=1, description=self._describe())

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Report an epoch's line of ``metrics.jsonl``."""
        parts = [f"epoch {row['epoch']}/{self._epochs}", f"loss {_number(row['train_loss'])}"]
        if row["mean_iou"] is not None or row["val_loss"] is not None:
            parts += [f"val loss {_number(row['val_loss'])}", f"mIoU {_number(row['mean_iou'])}"]
            self._mean_iou = row["mean_iou"]
        parts += [f"{row['images_per_second']:.1f} images/s", f"data wait {row['data_wait']:.0%}"]
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=self._describe())
            self._bar.console.print("  ".join(parts), highlight=False)
        else:
            logger.info("%s", "  ".join(parts))

    def _describe(self) -> str:
        """Return what stands beside the bar, short enough for 80 columns."""
        loss, images_per_second, data_wait = self._pace
        scores = f"loss {_number(loss)} mIoU {_number(self._mean_iou)}"
        return f"{scores} {images_per_second:.1f} images/s wait {data_wait:.0%}"


@contextmanager
def show_progress(*, total: int, done: int, epochs: int, bar_wanted: bool = True) -> Iterator[Display]:
    """Show a bar while the block runs, if wanted, where stderr is a terminal and ``NO_COLOR`` is not set."""
    if not bar_wanted or not sys.stderr.isatty() or "NO_COLOR" in os.environ:
        yield Display(None, total=total, done=done, epochs=epochs)
        return
    columns = (
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        yield Display(bar, total=total, done=done, epochs=epochs)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
