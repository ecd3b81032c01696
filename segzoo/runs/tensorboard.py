"""``tensorboard/``: the lines of ``metrics.jsonl`` as TensorBoard shows them, where the extra is installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SCALARS = {
    "train_loss": "train/loss",
    "val_loss": "val/loss",
    "mean_iou": "val/mean_iou",
    "pixel_accuracy": "val/pixel_accuracy",
    "mean_dice": "val/mean_dice",
    "images_per_second": "speed/images_per_second",
    "data_wait": "speed/data_wait",
}
GROUPS = {"per_class_iou": "iou", "lr": "lr"}


class Events:
    """Adds epochs to the events of a run; without TensorBoard it does nothing.

    Args:
        writer: Writes events; None where TensorBoard is not installed.
    """

    def __init__(self, writer: SummaryWriter | None) -> None:
        self._writer = writer

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's line of ``metrics.jsonl`` at its step; it is on disk when this returns."""
        if self._writer is None:
            return
        for tag, value in _scalars(row):
            self._writer.add_scalar(tag, value, row["step"])
        self._writer.flush()


@contextmanager
def open_events(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[Events]:
    """Write a run's events anew from the lines that it has, and take further ones while the block runs.

    Events that the folder held go first, so that it never shows an epoch that the run does not know.

    Args:
        folder: Where the events go.
        rows: The lines of ``metrics.jsonl``.
    """
    for stale in folder.glob("events.out.tfevents.*"):
        stale.unlink()
    if not _installed():
        yield Events(None)
        return
    with closing(_writer(folder)) as writer:
        events = Events(writer)
        for row in rows:
            events.epoch(row)
        yield events


def add_pictures(folder: Path, pictures: Mapping[str, Path], step: int) -> None:
    """Add pictures to the events of a run, at its last step; without TensorBoard nothing is done.

    Args:
        folder: Where the events are.
        pictures: PNG files by the names that they are shown under.
        step: Optimizer steps so far.
    """
    if not _installed():
        return
    with closing(_writer(folder)) as writer:
        for tag, path in pictures.items():
            with Image.open(path) as picture:
                writer.add_image(tag, np.asarray(picture.convert("RGB")), step, dataformats="HWC")


def _installed() -> bool:
    return find_spec("tensorboard") is not None


def _writer(folder: Path) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def _scalars(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield tag and value of every number that is known."""
    found = {tag: row.get(key) for key, tag in SCALARS.items()}
    for key, prefix in GROUPS.items():
        found |= {f"{prefix}/{name}": value for name, value in (row.get(key) or {}).items()}
    yield from ((tag, value) for tag, value in found.items() if value is not None)
