"""Decoded samples, kept in memory that all workers share, as long as there is plenty of it."""

from __future__ import annotations

import math
import mmap
import multiprocessing
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from segzoo.data.source import Pixels
from segzoo.runtime.memory import available_memory

SHARE = 0.25
"""Part of the memory available at the start that a cache may take."""

LOOK_EVERY = 2**26
"""Bytes after which a cache looks again whether memory has become scarce."""

_ALIGNMENT = 64
_TAKEN = -1


class DecodedCache:
    """Images and masks by their position in a split; each is written once, by whichever worker decodes it first.

    What is found is a copy, so that nothing done to it shows the next time. Processes forked later on share the cache.

    Args:
        num_samples: Samples in the split.
        capacity: Bytes that the cache may take; the system gives them as they are filled.

    Raises:
        OSError: If the system cannot promise the memory.
    """

    def __init__(self, num_samples: int, capacity: int) -> None:
        self.capacity = capacity
        self._memory = mmap.mmap(-1, capacity)
        # Offset plus 1, height, width and channels of the image, height and width of the mask; 0 is nothing yet.
        self._entries: NDArray[np.int64] = _shared_zeros(num_samples * 6).reshape(num_samples, 6)
        # Bytes given away, and the number at which to look again whether there are enough.
        self._used = _shared_zeros(2)
        # The system's own kind of process, by name: asking for the one in use would also settle it.
        self._lock = multiprocessing.get_context(multiprocessing.get_all_start_methods()[0]).Lock()

    def find(self, position: int) -> tuple[Pixels, Pixels] | None:
        """Return copies of the image ``(H, W, C)`` and the mask ``(H, W)`` of a sample, or None."""
        with self._lock:
            start, *shape = self._entries[position].tolist()
        if start <= 0:
            return None
        image = self._view(start - 1, tuple(shape[:3]))
        mask = self._view(start - 1 + image.size, tuple(shape[3:]))
        return image.copy(), mask.copy()

    def keep(self, position: int, image: Pixels, mask: Pixels) -> None:
        """Keep copies of a sample, unless it is kept already, or the cache or the memory is full."""
        start = self._take(position, image.size + mask.size)
        if start is None:
            return
        self._view(start, image.shape)[...] = image
        self._view(start + image.size, mask.shape)[...] = mask
        # Only now can it be found: where a process is killed before, the place is lost and nothing else.
        with self._lock:
            self._entries[position] = (start + 1, *image.shape, *mask.shape)

    def _take(self, position: int, size: int) -> int | None:
        """Return where a sample may be written; None where it must not be."""
        with self._lock:
            start, look = self._used.tolist()
            stop = start + math.ceil(size / _ALIGNMENT) * _ALIGNMENT
            if self._entries[position, 0] != 0 or stop > self.capacity:
                return None
            if stop >= look:
                if available_memory() < self.capacity:
                    self._used[0] = self.capacity
                    return None
                look = stop + LOOK_EVERY
            self._used[:] = stop, look
            self._entries[position, 0] = _TAKEN
            return int(start)

    def _view(self, start: int, shape: tuple[int, ...]) -> Pixels:
        return np.frombuffer(self._memory, np.uint8, math.prod(shape), start).reshape(shape)


def make_cache(num_samples: int, *, capacity: int | None = None, processes: int = 1) -> DecodedCache | None:
    """Return a cache of as many bytes as may be taken, or None where that are none.

    Args:
        num_samples: Samples in the split.
        capacity: Bytes; None takes a share of what is available.
        processes: How many processes of this machine have a cache of their own.
    """
    if capacity is None:
        capacity = int(SHARE * available_memory() / processes)
    if capacity > 0:
        with suppress(OSError, OverflowError):
            return DecodedCache(num_samples, capacity)
    return None


def _shared_zeros(count: int) -> NDArray[np.int64]:
    return np.frombuffer(mmap.mmap(-1, 8 * count), np.int64)
