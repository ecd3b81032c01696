"""Decode every file once before training starts: all faults in one message, and the statistics of the labels."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from platformdirs import user_cache_path

from segzoo.data.source import Sample, Source, name_some
from segzoo.errors import DataError
from segzoo.files import sha256_bytes, sha256_file, write_atomic

CACHE_VERSION = 1
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


class _Record(NamedTuple):
    """What is known of one sample without faults, as long as its files keep their stamp."""

    stamp: str
    digest: str
    pixels: list[int]
    ignored: int


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
    cache = _Cache(source, samples, num_classes)
    known = {sample: record for sample in samples if (record := cache.find(sample))}
    unknown = [sample for sample in samples if sample not in known]
    with ThreadPoolExecutor(workers) as pool:
        # The list is made while the pool waits, so that an interrupt cancels what has not begun.
        results = list(pool.map(partial(_examine, source, num_classes), unknown))
    fresh = {sample: result for sample, result in zip(unknown, results, strict=True) if isinstance(result, _Record)}
    cache.add(fresh)
    faults = sorted(result for result in results if isinstance(result, str))
    if faults:
        raise DataError(f"{len(faults)} of {len(samples)} samples cannot be used:\n{name_some(faults)}")
    known |= fresh
    return _report({split: {sample.name: known[sample] for sample in source.splits[split]} for split in splits})


def _examine(source: Source, num_classes: int, sample: Sample) -> _Record | str:
    """Return what a sample holds, or its fault."""
    try:
        stamp, digest = _stamp(sample), _digest(source, sample)
        image, mask = source.read(sample)
    except DataError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    if image.shape[:2] != mask.shape:
        sizes = f"{mask.shape[1]}x{mask.shape[0]} pixels, its image {image.shape[1]}x{image.shape[0]}"
        return f"{sample.mask}: the mask has {sizes}"
    counts = np.bincount(mask.ravel(), minlength=256)
    ignored, counts[source.ignore_index] = int(counts[source.ignore_index]), 0
    outside = np.flatnonzero(counts[num_classes:]) + num_classes
    if outside.size:
        labels = ", ".join(map(str, outside[:5])) + (", …" if outside.size > 5 else "")
        return f"{sample.mask}: labels outside the classes 0 to {num_classes - 1}: {labels}; see data.ignore_labels"
    return _Record(stamp, digest, counts[:num_classes].tolist(), ignored)


def _report(splits: dict[str, dict[str, _Record]]) -> ScanReport:
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


def _digest(source: Source, sample: Sample) -> str:
    """Return a checksum of the files' content; of a drawn scene, of all that decides it."""
    contents = [sha256_file(path) for path in _files(sample)] or [source.settings, sample.name, str(sample.number)]
    return sha256_bytes(json.dumps(contents).encode())


def _stamp(sample: Sample) -> str:
    """Return what changes when a sample's files do, without reading them."""
    stamps = []
    for path in _files(sample):
        status = path.stat()
        stamps.append([str(path.absolute()), status.st_size, status.st_mtime_ns])
    return json.dumps(stamps)


def _files(sample: Sample) -> list[Path]:
    return [path for path in (sample.image, sample.mask) if path is not None]


class _Cache:
    """Records of former scans with the same settings in the same folders, by the samples' names.

    A cache that is damaged or cannot be written costs time, never a run.
    """

    def __init__(self, source: Source, samples: Sequence[Sample], num_classes: int) -> None:
        folders = sorted({str(path.parent.absolute()) for sample in samples for path in _files(sample)})
        identity = json.dumps([CACHE_VERSION, source.settings, source.ignore_index, num_classes, folders])
        root = Path(os.environ.get("SEGZOO_CACHE") or user_cache_path("segzoo"))
        self._path = root / "scan" / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"
        self._records: dict[str, _Record] = {}
        with suppress(OSError, ValueError, TypeError):
            checksum, body = self._path.read_text(encoding="utf-8").split("\n", 1)
            if checksum == sha256_bytes(body.encode()):
                self._records = {name: _Record(*values) for name, values in json.loads(body).items()}

    def find(self, sample: Sample) -> _Record | None:
        """Return what is known of a sample whose files have not changed."""
        record = self._records.get(_key(sample))
        try:
            return record if record and record.stamp == _stamp(sample) else None
        except OSError:
            return None

    def add(self, records: dict[Sample, _Record]) -> None:
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
