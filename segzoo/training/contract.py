"""The first batch against what the model expects: said before the first step, as no error would ever say it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from segzoo.data.doctor.doctor import DARK
from segzoo.data.loading.loaders import Batch
from segzoo.data.normalise import Normalise, channel_statistics
from segzoo.errors import DataError
from segzoo.runs.records import BatchRecord, ChannelRecord
from segzoo.spec import InputSpec

logger = logging.getLogger(__name__)

LEVELS = 256
SLACK = 0.5
"""Levels of 255 by which rounding may move a value; two levels are never mistaken for one another."""


def check_first_batch(
    batch: Batch, normalise: Normalise, expected: InputSpec, *, names: Sequence[str], ignore_index: int
) -> BatchRecord:
    """Describe the first training batch in the log, and warn of what training would pass over in silence.

    Args:
        batch: The batch, augmented.
        normalise: Maps bytes to the model's input, on the CPU.
        expected: What the model states about its input.
        names: The classes' names by label.
        ignore_index: Label that is not trained on.

    Raises:
        DataError: If there are labels outside the classes.
    """
    record = describe_batch(batch, normalise, names=names, ignore_index=ignore_index)
    for name, value in record.facts:
        logger.info("%s: %s", name, value)
    for trap in find_traps(record, expected):
        logger.warning("%s", trap)
    return record


def describe_batch(batch: Batch, normalise: Normalise, *, names: Sequence[str], ignore_index: int) -> BatchRecord:
    """Return the statistics of a batch as the network gets it.

    Raises:
        DataError: If there are labels outside the classes.
    """
    labels = _histogram(batch.masks)
    found = [label for label in labels.nonzero().flatten().tolist() if label != ignore_index]
    strange = [label for label in found if label >= len(names)]
    if strange:
        raise DataError(
            f"the first batch holds the labels {', '.join(map(str, strange))} after augmentation; the classes are 0 to "
            f"{len(names) - 1} and {ignore_index} is ignored: look at fill_mask in augment, and at data.ignore_labels"
        )
    return BatchRecord(
        images=len(batch.images),
        size=(batch.images.shape[2], batch.images.shape[3]),
        channels=tuple(_channels(batch.images, normalise)),
        labels=(found[0], found[-1]) if found else None,
        classes=tuple(names[label] for label in found),
        known_classes=len(names),
        ignored=round(float(labels[ignore_index] / labels.sum()), 4),
    )


def find_traps(record: BatchRecord, expected: InputSpec) -> Iterator[str]:
    """Yield what is likely to be wrong with a batch, each with the way out.

    Nothing here is refused: a picture may be black. But a batch whose brightest value is among the lowest sixteen
    levels is hardly ever one of night, where a lamp or the noise of the sensor reaches further, and nearly always one
    of files that hold 0 to 1 or 0 to 15.
    """
    mean, std = channel_statistics(expected, len(record.channels))
    if max(*mean, *std) > 1:
        yield (
            f"the model states a mean of {_join(mean)} and a std of {_join(std)}, as if images were 0 to 255; they are "
            "scaled to [0, 1] first, so its input is divided by 255 twice and next to constant. Divide both by 255 in "
            "the model's InputSpec"
        )
    pairs = list(zip(record.channels, mean, std, strict=True))
    darkest = min(255 * (channel.min * sigma + mu) for channel, mu, sigma in pairs)
    brightest = max(255 * (channel.max * sigma + mu) for channel, mu, sigma in pairs)
    if darkest < -SLACK or brightest > 255 + SLACK:
        yield (
            f"the input is not what bytes in [0, 1] minus {_join(mean)} over {_join(std)} can be: undone, it goes from "
            f"{darkest:.1f} to {brightest:.1f} instead of 0 to 255. Look at how the model's input is normalised"
        )
    elif brightest < DARK + SLACK:
        yield (
            f"the first batch is almost black: no value is above {abs(round(brightest))} of 255. Files that hold 0 to "
            "1 or 0 to 15, or were divided by 255 before they were saved, are divided by 255 once more here. Save them "
            "scaled to 0 to 255; segzoo data check names them"
        )
    if record.labels is None:
        yield (
            "every pixel of the first batch is ignored, so that nothing can be learned from it: look at "
            "data.ignore_index and data.ignore_labels; segzoo data show draws samples with their masks"
        )


def _channels(images: Tensor, normalise: Normalise) -> Iterator[ChannelRecord]:
    """Yield each channel's statistics, exact, from how often each of the 256 levels occurs."""
    counts = torch.stack([_histogram(images[:, channel]) for channel in range(images.shape[1])])
    ramp = torch.arange(LEVELS, dtype=torch.uint8).expand(1, images.shape[1], 1, LEVELS)
    for count, values in zip(counts, normalise(ramp)[0, :, 0].double(), strict=True):
        share = count / count.sum()
        present = values[count > 0]
        mean = float((share * values).sum())
        std = float((share * (values - mean).square()).sum().sqrt())
        low, high = float(present.min()), float(present.max())
        yield ChannelRecord(mean=_six(mean), std=_six(std), min=_six(low), max=_six(high))


def _histogram(planes: Tensor) -> Tensor:
    """Return how often each of the 256 values of uint8 ``(N, H, W)`` occurs."""
    # Plane by plane: counting makes wide integers of all that it is given.
    return torch.stack([torch.bincount(plane.flatten(), minlength=LEVELS) for plane in planes]).sum(0).double()


def _six(value: float) -> float:
    """Return a number with six significant digits."""
    return float(f"{value:.6g}")


def _join(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
