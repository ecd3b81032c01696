"""Batch sizes that the memory has room for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from segzoo.runtime.out_of_memory import is_out_of_memory

T = TypeVar("T")


class NoRoomError(Exception):
    """Not even one image fits into the memory; the message is the allocator's."""


def largest_that_fits(batch: int, attempt: Callable[[int], T], release: Callable[[], None]) -> tuple[int, T]:
    """Call ``attempt`` with ever smaller batches until one does not run out of memory.

    Args:
        batch: Images in the first.
        attempt: Gets the number of images.
        release: Frees what an attempt that failed has left.

    Returns:
        The number of images that fitted, and what ``attempt`` returned for it.

    Raises:
        NoRoomError: If a single image does not fit.
    """
    reason = ""
    for size in decay(batch):
        try:
            return size, attempt(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = first_line(error)
        # Not inside the except block: the exception's traceback holds the tensors of the attempt.
        release()
    raise NoRoomError(reason)


def decay(batch: int) -> list[int]:
    """Return ``batch`` and, down to 1, each power of two below it and what lies halfway between two of them."""
    powers = [1 << exponent for exponent in range(batch.bit_length() + 1)]
    sizes = {batch, *powers, *(power * 3 // 4 for power in powers)}
    return sorted((size for size in sizes if 0 < size <= batch), reverse=True)


def first_line(error: BaseException) -> str:
    """Return what an exception says, without what follows its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
