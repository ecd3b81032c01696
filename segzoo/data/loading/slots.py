"""Memory in which forked workers lay batches for this process, used over and over."""

from __future__ import annotations

import mmap
import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bytes = NDArray[np.uint8]


class Slots:
    """Pieces of memory for one batch each, which processes forked later on share.

    The system hands out fresh memory page by page, which takes longer than filling it; here pages stay. Nothing of it
    lies in ``/dev/shm``, where torch puts what workers send and which containers often keep small.

    Args:
        count: Number of pieces.
        size: Bytes of each.

    Raises:
        OSError: If the system gives no such memory.
    """

    def __init__(self, count: int, size: int) -> None:
        self._size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(-1, count * self._size)
        self._free = list(range(count))

    def claim(self) -> int | None:
        """Return a slot that nobody uses, the last one used first; None where all are taken."""
        return self._free.pop() if self._free else None

    def release(self, slot: int) -> None:
        """Take back a slot that was claimed and not lent."""
        self._free.append(slot)

    def memory(self, slot: int) -> Bytes:
        """Return the bytes of a slot, to be written."""
        return np.frombuffer(self._memory, np.uint8, self._size, slot * self._size)

    def lend(self, slot: int, length: int) -> Tensor:
        """Return the first bytes of a slot; it is free again when no tensor refers to them any more."""
        memory = self.memory(slot)
        weakref.finalize(memory, self._free.append, slot).atexit = False
        return torch.from_numpy(memory)[:length]
