"""What a run finds out about itself, as ``run.json`` keeps it and the report shows it.

This module needs no torch.
"""

from __future__ import annotations

from segzoo.page import count, decimal, percent
from segzoo.spec import Frozen

Fact = tuple[str, str]


class ChannelRecord(Frozen):
    """One channel of the first training batch, as the network gets it: normalised."""

    mean: float
    std: float
    min: float
    max: float


class BatchRecord(Frozen):
    """The first training batch, augmented and normalised.

    Args:
        images: How many images it has.
        size: Their height and width in pixels.
        channels: The values of each channel.
        labels: The lowest and the highest label that is not ignored; None where all are.
        classes: The classes that occur.
        known_classes: How many classes there are.
        ignored: Share of the pixels that is ignored, 0 to 1.
    """

    images: int
    size: tuple[int, int]
    channels: tuple[ChannelRecord, ...]
    labels: tuple[int, int] | None
    classes: tuple[str, ...]
    known_classes: int
    ignored: float

    @property
    def facts(self) -> list[Fact]:
        """What is shown of it, in two rows."""
        spread = (min(each.min for each in self.channels), max(each.max for each in self.channels))
        means, stds = ([decimal(value, 2) for value in values] for values in zip(*self._moments(), strict=True))
        labels = f"{self.labels[0]} to {self.labels[1]}" if self.labels else "none"
        return [
            (
                "first batch",
                f"{count(self.images)} x {self.size[0]}x{self.size[1]} pixels, normalised to mean {' '.join(means)}, "
                f"std {' '.join(stds)}, range {decimal(spread[0], 2)} to {decimal(spread[1], 2)}",
            ),
            (
                "first labels",
                f"{labels}, {len(self.classes)} of {self.known_classes} classes, {percent(self.ignored)} ignored",
            ),
        ]

    def _moments(self) -> list[tuple[float, float]]:
        return [(channel.mean, channel.std) for channel in self.channels]


class PassesRecord(Frozen):
    """Two evaluation passes over the same images.

    Args:
        images: How many images were scored twice.
        equal: Whether all logits were equal to the bit.
        largest_difference: Between the logits of both passes.
    """

    images: int
    equal: bool
    largest_difference: float


class AuditRecord(Frozen):
    """What was frozen, and how it is known that it stayed as it was.

    Args:
        parts: The parts of the model that were frozen.
        parameters: How many tensors of theirs are parameters.
        buffers: How many are buffers.
        epochs: After how many epochs each was compared with its checksum.
        unchanged: Whether all were to the bit what they were before the first step.
        passes: Two evaluation passes with the model of the last epoch.
    """

    parts: tuple[str, ...]
    parameters: int
    buffers: int
    epochs: int
    unchanged: bool
    passes: PassesRecord

    @property
    def facts(self) -> list[Fact]:
        """What is shown of it, in two rows."""
        passes = self.passes
        same = "equal to the bit" if passes.equal else f"up to {passes.largest_difference:.2g} apart"
        return [
            (
                f"frozen {' and '.join(self.parts)}",
                f"{count(self.parameters)} parameters and {count(self.buffers)} buffers, "
                f"{'unchanged' if self.unchanged else 'changed'}; epochs audited: {count(self.epochs)}",
            ),
            ("two evaluation passes", f"logits {same}; images scored: {count(passes.images)}"),
        ]
