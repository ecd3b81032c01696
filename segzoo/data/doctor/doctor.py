"""The data doctor: read everything, list every fault, and sum up what the splits hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segzoo.data.examine import BINARY, Fault, Record, Watch, files_of, read_samples, unwatched
from segzoo.data.files.images import read_mask
from segzoo.data.findings import FileFault, Finding, Kind
from segzoo.data.formats.files import PairSource
from segzoo.data.scan import RecordCache
from segzoo.data.source import Sample, Source
from segzoo.recipe.data import ClassEntry

DARK = 15
"""An image without a value above this shows next to nothing."""


class Listed(NamedTuple):
    """A finding and the split it lies in, where that is known."""

    split: str | None
    finding: Finding


class Spread(NamedTuple):
    """The smallest, the median and the largest of some numbers."""

    smallest: int
    median: int
    largest: int


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What the whole samples of a split hold together.

    Args:
        samples: Pairs in the split, those with faults too.
        heights: Heights of the images in pixels.
        widths: Widths of the images in pixels.
        class_pixels: Pixels of each class.
        class_presence: For each class, the valid pixels of those images where it occurs.
        ignored_pixels: Pixels that are neither trained nor scored.
        void: Samples in which every pixel is ignored.
        mean: Mean of each channel of the images, scaled to [0, 1].
        std: Standard deviation of each channel over all pixels, scaled likewise.
    """

    samples: int
    heights: Spread
    widths: Spread
    class_pixels: tuple[int, ...]
    class_presence: tuple[int, ...]
    ignored_pixels: int
    void: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def ignored_share(self) -> float:
        """Ignored pixels among all pixels."""
        return self.ignored_pixels / (self.ignored_pixels + sum(self.class_pixels))


@dataclass(frozen=True, slots=True)
class Checkup:
    """What is wrong with data, and what it holds.

    Args:
        findings: All faults, by split and file.
        classes: Names and colours by label.
        splits: The facts of each split that has a sample without a fault.
        outside: How many samples hold each label outside the classes.
        samples: Pairs in all splits.
    """

    findings: tuple[Listed, ...]
    classes: tuple[ClassEntry, ...]
    splits: dict[str, SplitFacts]
    outside: Counter[int]
    samples: int


def examine_source(source: Source, unpaired: Sequence[Finding], *, watch: Watch = unwatched) -> Checkup:
    """Read every sample of a source; a scan need not read again those without a fault.

    Args:
        source: The data.
        unpaired: What was found while its files were listed.
        watch: Told how many samples there are.
    """
    samples = list(dict.fromkeys(sample for members in source.splits.values() for sample in members))
    classes = source.classes
    read = read_samples(source, samples, num_classes=len(classes), watch=watch)
    results = dict(zip(samples, read, strict=True))
    records = {sample: result for sample, result in results.items() if isinstance(result, Record)}
    faults = {sample: result for sample, result in results.items() if isinstance(result, Fault)}
    RecordCache(source, samples, len(classes)).add(records)
    homes, folders = _homes(source), _folders(source)
    findings = [Listed(folders.get(Path(finding.file).parent), finding) for finding in unpaired]
    findings += [Listed(homes[sample], fault.finding) for sample, fault in faults.items()]
    for sample, record in records.items():
        findings += [Listed(homes[sample], finding) for finding in _remarks(source, sample, record)]
    findings += _repeated(source, records)
    return Checkup(
        findings=tuple(sorted(findings, key=lambda listed: (listed.split or "", listed.finding.file))),
        classes=tuple(classes),
        splits={
            split: _facts(len(members), whole)
            for split, members in source.splits.items()
            if (whole := [records[sample] for sample in members if sample in records])
        },
        outside=Counter(label for fault in faults.values() for label in fault.outside),
        samples=len(samples),
    )


def _homes(source: Source) -> dict[Sample, str]:
    """Return the first split of each sample."""
    homes: dict[Sample, str] = {}
    for split, members in source.splits.items():
        for sample in members:
            homes.setdefault(sample, split)
    return homes


def _folders(source: Source) -> dict[Path, str | None]:
    """Return the split whose files lie in each folder; None where several splits share it."""
    folders: dict[Path, str | None] = {}
    for split, members in source.splits.items():
        for folder in {path.parent for sample in members for path in files_of(sample)}:
            folders[folder] = split if folder not in folders else None
    return folders


def _remarks(source: Source, sample: Sample, record: Record) -> Iterable[Finding]:
    """Yield what speaks against a sample that can be used."""
    image = sample.name if sample.image is None else str(sample.image)
    smallest = [channel.smallest for channel in record.channels]
    largest = [channel.largest for channel in record.channels]
    if smallest == largest:
        values = ", ".join(map(str, smallest))
        yield Finding("blank_image", image, f"every pixel is ({values}); is it an image at all?")
    elif max(largest) <= 1:
        yield Finding("low_values", image, "no value is above 1 of 255: save it scaled to 0 to 255, not 0 to 1")
    elif max(largest) <= DARK:
        yield Finding("low_values", image, f"almost black: no value is above {max(largest)} of 255")
    if sample.mask is not None and _is_binary(source, sample.mask, record):
        yield Finding("binary_mask", str(sample.mask), BINARY)


def _is_binary(source: Source, mask: Path, record: Record) -> bool:
    """Say whether a mask holds 255, and 0 at most beside it, though nobody said that 255 is ignored."""
    if not isinstance(source, PairSource) or source.mask_mode not in ("index", "palette"):
        return False
    if not record.ignored or any(record.pixels[1:]) or 255 in source.ignore_labels:
        return False
    try:
        # Other labels may have become the ignored one.
        return set(np.unique(read_mask(mask, "index", ())).tolist()) <= {0, 255}
    except FileFault:  # it has changed since it was read
        return False


def _repeated(source: Source, records: Mapping[Sample, Record]) -> list[Listed]:
    """Return the samples that show the same as an earlier one, in the order of the splits."""
    first: dict[str, tuple[str, Sample]] = {}
    found: list[Listed] = []
    for split, members in source.splits.items():
        for sample in members:
            record = records.get(sample)
            if record is None or all(channel.smallest == channel.largest for channel in record.channels):
                continue
            if record.picture not in first:
                first[record.picture] = (split, sample)
                continue
            where, other = first[record.picture]
            found.append(Listed(split, _repetition(split, sample, where, other, records)))
    return found


def _repetition(split: str, sample: Sample, where: str, other: Sample, records: Mapping[Sample, Record]) -> Finding:
    kind: Kind = "duplicate" if split == where else "leak"
    name = sample.name if sample.image is None else str(sample.image)
    if sample == other:
        return Finding(kind, name, f"it is in the split {where!r} too")
    twin = other.name if other.image is None else str(other.image)
    labels = "" if records[sample].pixels == records[other].pixels else ", with another mask"
    place = "" if split == where else f" of the split {where!r}"
    return Finding(kind, name, f"the same picture as {twin}{place}{labels}")


def _facts(samples: int, records: Sequence[Record]) -> SplitFacts:
    pixels = np.array([record.pixels for record in records])
    channels = np.array([record.channels for record in records], np.float64)
    sizes = np.array([record.size for record in records])
    area = sizes.prod(axis=1).sum()
    mean = channels[:, :, 0].sum(axis=0) / area
    variance = channels[:, :, 1].sum(axis=0) / area - mean**2
    presence = (pixels.sum(axis=1, keepdims=True) * (pixels > 0)).sum(axis=0)
    return SplitFacts(
        samples=samples,
        heights=_spread(sizes[:, 0].tolist()),
        widths=_spread(sizes[:, 1].tolist()),
        class_pixels=tuple(pixels.sum(axis=0).tolist()),
        class_presence=tuple(presence.tolist()),
        ignored_pixels=sum(record.ignored for record in records),
        void=int((pixels.sum(axis=1) == 0).sum()),
        mean=tuple((mean / 255).tolist()),
        std=tuple((np.sqrt(np.maximum(variance, 0)) / 255).tolist()),
    )


def _spread(numbers: list[int]) -> Spread:
    ordered = sorted(numbers)
    return Spread(ordered[0], ordered[len(ordered) // 2], ordered[-1])
