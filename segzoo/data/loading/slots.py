"""Memory in which forked workers lay batches for this process, used over and over."""

from __future__ import annotations

import logging
import mmap
import weakref
from collections import deque
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

Bytes = NDArray[np.uint8]


class Slots:
    """Pieces of memory for one batch each, which processes forked later on share.

    The system hands out fresh memory page by page, which takes longer than filling it; here pages stay. Nothing of it
    lies in ``/dev/shm``, where torch puts what workers send and which containers often keep small.

    Once it is pinned, a GPU copies from it while this process runs on. A slot that comes back may still be read then:
    it is free after all that the GPU had been given by the time that the next slot is claimed.

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
        self._returned: list[int] = []
        self._reading: deque[tuple[torch.cuda.Event, list[int]]] = deque()
        self._pinned = False

    @property
    def pinned(self) -> bool:
        """Whether the memory is page-locked."""
        return self._pinned

    def pin(self) -> None:
        """Page-lock the memory for the current CUDA device, after the processes that share it are forked.

        Where CUDA refuses, it stays as it is.
        """
        runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        code = int(runtime.cudaHostRegister(self._address, len(self._memory), 0))
        self._pinned = code == 0
        if not self._pinned:
            logger.debug("%d bytes for batches cannot be page-locked: CUDA error %d", len(self._memory), code)
            # CUDA would report the error again after the next kernel.
            with suppress(RuntimeError):
                torch.zeros(1, device="cuda")

    def unpin(self) -> None:
        """Undo :meth:`pin`, which has to come before the memory is given back to the system; waits for copies."""
        if not self._pinned:
            return
        self._pinned = False
        with suppress(RuntimeError):  # the device may have failed, which is reported where it is used
            torch.cuda.current_stream().synchronize()
            runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
            runtime.cudaHostUnregister(self._address)

    def claim(self) -> int | None:
        """Return a slot that nobody uses, the last one used first; None where all are taken."""
        self._collect()
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
        weakref.finalize(memory, self._returned.append, slot).atexit = False
        return torch.from_numpy(memory)[:length]

    def _collect(self) -> None:
        """Move slots that came back to the free ones, when no copy reads them any more."""
        # Finalizers only append: they may run anywhere, even while a graph is recorded.
        returned = [self._returned.pop() for _ in range(len(self._returned))]
        if not self._pinned:
            self._free.extend(returned)
        elif returned:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            self._reading.append((event, returned))
        while self._reading and self._reading[0][0].query():  # type: ignore[no-untyped-call]
            self._free.extend(self._reading.popleft()[1])

    @property
    def _address(self) -> int:
        return torch.frombuffer(self._memory, dtype=torch.uint8).data_ptr()
