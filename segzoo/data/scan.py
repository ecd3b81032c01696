"""Decode every file once before training starts: all faults in one message, and the statistics of the labels."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from segzoo.data.examine import Channel, Fault, Record, files_of, read_samples, stamp_of
from segzoo.data.source import Sample, Source, name_some
from segzoo.errors import DataError
from segzoo.files import sha256_bytes, write_atomic

CACHE_VERSION = 2
"""Raised when what a record holds, or what counts as a fault, changes."""


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan without faults learned; the mappings go from split to numbers, tuples by label.

    Args:
        fingerprint: SHA-256 over the splits, the sorted names in them and the content of the files.
        images: Images in each split.
        class_pixels: Pixels of each class.
        ignored_pixels: Pixels that are neither trained nor scored.
        class_presence: For each class, the pixels of all classes in those images where it occurs: median-frequency
            weights divide ``class_pixels`` by it.
    """

    fingerprint: str
    images: dict[str, int]
    class_pixels: dict[str, tuple[int, ...]]
    ignored_pixels: dict[str, int]
    class_presence: dict[str, tuple[int, ...]]


def scan(source: Source, splits: Sequence[str], *, num_classes: int, workers: int | None = None) -> ScanReport:
    """Read every sample of the splits, or take from the cache what is known of files that have not changed.

    Args:
        source: The data.
        splits: Which of its splits to read.
        num_classes: Labels from here on are faults, the source's ``ignore_index`` apart.
        workers: Threads; absent is what Python takes for the cores of the machine.

    Raises:
        DataError: Up to 20 faults by file name and the number of the rest: unreadable or truncated files, masks of
            another size than their image, labels outside the classes, and whatever else the source refuses.
    """
    samples = list(dict.fromkeys(sample for split in splits for sample in source.splits[split]))
    cache = RecordCache(source, samples, num_classes)
    known = {sample: record for sample in samples if (record := cache.find(sample))}
    unknown = [sample for sample in samples if sample not in known]
    results = read_samples(source, unknown, num_classes=num_classes, workers=workers)
    fresh = {sample: result for sample, result in zip(unknown, results, strict=True) if isinstance(result, Record)}
    cache.add(fresh)
    faults = sorted(str(result.finding) for result in results if isinstance(result, Fault))
    if faults:
        raise DataError(f"{len(faults)} of {len(samples)} samples cannot be used:\n{name_some(faults)}")
    known |= fresh
    return _report({split: {sample.name: known[sample] for sample in source.splits[split]} for split in splits})


def _report(splits: dict[str, dict[str, Record]]) -> ScanReport:
    pixels = {split: np.array([record.pixels for record in records.values()]) for split, records in splits.items()}
    presence = {split: (table.sum(axis=1, keepdims=True) * (table > 0)).sum(axis=0) for split, table in pixels.items()}
    content = {
        split: sorted((name, record.digest) for name, record in items.items()) for split, items in splits.items()
    }
    return ScanReport(
        fingerprint=sha256_bytes(json.dumps(content, sort_keys=True).encode()),
        images={split: len(records) for split, records in splits.items()},
        class_pixels={split: tuple(table.sum(axis=0).tolist()) for split, table in pixels.items()},
        ignored_pixels={split: sum(record.ignored for record in records.values()) for split, records in splits.items()},
        class_presence={split: tuple(row.tolist()) for split, row in presence.items()},
    )


class RecordCache:
    """Records of former scans with the same settings in the same folders, by the samples' names.

    A cache that is damaged or cannot be written costs time, never a run.
    """

    def __init__(self, source: Source, samples: Sequence[Sample], num_classes: int) -> None:
        folders = sorted({str(path.parent.absolute()) for sample in samples for path in files_of(sample)})
        identity = json.dumps([CACHE_VERSION, source.settings, source.ignore_index, num_classes, folders])
        root = Path(os.environ.get("SEGZOO_CACHE") or user_cache_path("segzoo"))
        self._path = root / "scan" / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
        self._records: dict[str, Record] = {}
        with suppress(OSError, ValueError, TypeError):
            checksum, body = self._path.read_text(encoding="utf-8").split("\n", 1)
            if checksum == sha256_bytes(body.encode()):
                self._records = {name: _record(values) for name, values in json.loads(body).items()}

    def find(self, sample: Sample) -> Record | None:
        """Return what is known of a sample whose files have not changed."""
        record = self._records.get(_key(sample))
        try:
            return record if record and record.stamp == stamp_of(sample) else None
        except OSError:
            return None

    def add(self, records: dict[Sample, Record]) -> None:
        """Write the cache with more records, in place of older ones of the same samples."""
        if not records:
            return
        self._records |= {_key(sample): record for sample, record in records.items()}
        body = json.dumps(self._records)
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path, f"{sha256_bytes(body.encode())}\n{body}")


def _key(sample: Sample) -> str:
    return str(sample.image or sample.name)


def _record(values: list[Any]) -> Record:
    *rest, channels = values
    return Record._make([*rest, [Channel._make(channel) for channel in channels]])
