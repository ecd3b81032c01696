"""Look at one sample: what its files hold, or its fault. The scan before training and the data doctor share it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from segzoo.data.findings import FileFault, Finding, Kind
from segzoo.data.source import Pixels, Sample, Source
from segzoo.errors import DataError
from segzoo.files import sha256_bytes, sha256_file

BINARY = (
    "a black-and-white mask of 0 and 255: for two classes set data.mask_mode to 'binary', which reads 255 as label 1; "
    "where 255 means ignored, add it to data.ignore_labels"
)

Watch = Callable[[str, int], Callable[[], None]]
"""Told what is being done and how many times, it returns what is called after each time."""

_VALUES = np.arange(256, dtype=np.int64)


def unwatched(task: str, total: int) -> Callable[[], None]:
    """Show no progress."""
    return lambda: None


class Channel(NamedTuple):
    """The values of one channel of an image: their sum, the sum of their squares, the smallest and the largest."""

    total: int
    squares: int
    smallest: int
    largest: int


class Record(NamedTuple):
    """What is known of one sample without faults, as long as its files keep their stamp.

    Args:
        stamp: What changes when the files do.
        digest: Checksum of the files' content.
        pixels: Pixels of each class.
        ignored: Pixels that are neither trained nor scored.
        size: Height and width.
        picture: Checksum of the decoded image.
        channels: The values of each channel of the image.
    """

    stamp: str
    digest: str
    pixels: list[int]
    ignored: int
    size: list[int]
    picture: str
    channels: list[Channel]


class Fault(NamedTuple):
    """Why a sample cannot be used.

    Args:
        finding: The fault.
        outside: The labels outside the classes, where that is the fault.
    """

    finding: Finding
    outside: tuple[int, ...] = ()


def read_samples(
    source: Source,
    samples: Sequence[Sample],
    *,
    num_classes: int,
    workers: int | None = None,
    watch: Watch = unwatched,
) -> list[Record | Fault]:
    """Read samples in parallel, none of which stops the others.

    Args:
        source: The data.
        samples: Which of its samples to read.
        num_classes: Labels from here on are faults, the source's ``ignore_index`` apart.
        workers: Threads; absent is what Python takes for the cores of the machine.
        watch: Told how many samples there are.
    """
    advance = watch("reading", len(samples))
    results = []
    with ThreadPoolExecutor(workers) as pool:
        # They are taken while the pool waits, so that an interrupt cancels what has not begun.
        for result in pool.map(partial(examine, source, num_classes), samples):
            results.append(result)
            advance()
    return results


def examine(source: Source, num_classes: int, sample: Sample) -> Record | Fault:
    """Return what a sample holds, or its fault."""
    try:
        stamp = stamp_of(sample)
        # Read before its content is summed up: reading refuses what is no regular file and would be waited for.
        image, mask = source.read(sample)
        digest = _digest(source, sample)
    except FileFault as error:
        return Fault(error.finding)
    except DataError as error:
        return Fault(Finding("unreadable", _name(sample.image, sample), str(error)))
    except OSError as error:
        return Fault(Finding("unreadable", str(error.filename), error.strerror or str(error)))
    if image.shape[:2] != mask.shape:
        sizes = f"{mask.shape[1]}x{mask.shape[0]} pixels, its image {image.shape[1]}x{image.shape[0]}"
        return _mask_fault(sample, "size_mismatch", f"the mask has {sizes}")
    counts = np.bincount(mask.ravel(), minlength=256)
    ignored, counts[source.ignore_index] = int(counts[source.ignore_index]), 0
    outside = tuple((np.flatnonzero(counts[num_classes:]) + num_classes).tolist())
    if outside == (255,) and not counts[1:num_classes].any():
        return _mask_fault(sample, "binary_mask", BINARY, outside)
    if outside:
        labels = ", ".join(map(str, outside[:5])) + (", …" if len(outside) > 5 else "")
        reason = f"labels outside the classes 0 to {num_classes - 1}: {labels}; see data.ignore_labels"
        return _mask_fault(sample, "label_outside_classes", reason, outside)
    return Record(
        stamp, digest, counts[:num_classes].tolist(), ignored, list(mask.shape), _picture(image), _channels(image)
    )


def stamp_of(sample: Sample) -> str:
    """Return what changes when a sample's files do, without reading them.

    Raises:
        OSError: If a file is not there.
    """
    stamps = []
    for path in files_of(sample):
        status = path.stat()
        stamps.append([str(path.absolute()), status.st_size, status.st_mtime_ns])
    return json.dumps(stamps)


def files_of(sample: Sample) -> list[Path]:
    """Return the files of a sample: none where it is drawn."""
    return [path for path in (sample.image, sample.mask) if path is not None]


def _mask_fault(sample: Sample, kind: Kind, reason: str, outside: tuple[int, ...] = ()) -> Fault:
    return Fault(Finding(kind, _name(sample.mask, sample), reason), outside)


def _name(path: Path | None, sample: Sample) -> str:
    return sample.name if path is None else str(path)


def _digest(source: Source, sample: Sample) -> str:
    """Return a checksum of the files' content; of a drawn scene, of all that decides it."""
    contents = [sha256_file(path) for path in files_of(sample)] or [source.settings, sample.name, str(sample.number)]
    return sha256_bytes(json.dumps(contents).encode())


def _picture(image: Pixels) -> str:
    """Return a checksum of the image as it is seen, whatever its file is like."""
    digest = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _channels(image: Pixels) -> list[Channel]:
    # Pillow counts bytes several times faster than numpy, three channels at once.
    parts = [image] if image.shape[2] == 3 else list(np.moveaxis(image, 2, 0))
    counts = np.array([Image.fromarray(np.ascontiguousarray(part)).histogram() for part in parts], np.int64)
    return [_channel(row) for row in counts.reshape(-1, 256)]


def _channel(counts: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Channel:
    found = np.flatnonzero(counts)
    return Channel(int(counts @ _VALUES), int(counts @ _VALUES**2), int(found[0]), int(found[-1]))
