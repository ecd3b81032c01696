"""Out of memory: recognising it on every device, and errors that say what to lower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from segzoo.errors import SegzooError, TrainingError
from segzoo.recipe import Recipe

_WORDS = (
    "out of memory",
    "can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)
"""What torch and libraries say where they have no class of their own for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception, or one that led to it, means that a device or the system has no memory left."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(seen, RuntimeError) and any(words in str(seen) for words in _WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


@contextmanager
def explaining_memory(explain: Callable[[], SegzooError]) -> Iterator[None]:
    """Replace an error that means out of memory by one that says what to do.

    Args:
        explain: Returns the error; called when memory has run out.

    Raises:
        SegzooError: If memory runs out inside the block.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise explain() from error


def lower(way_out: str) -> SegzooError:
    """Return the error that memory ran out, with the way out."""
    return SegzooError(f"out of memory; {way_out}")


def smaller_batch(where: str, recipe: Recipe, *, samples: int, processes: int) -> TrainingError:
    """Return the error of a training that ran out of memory, with what to lower.

    Args:
        where: When it happened, such as ``"before the first step"``.
        recipe: The resolved recipe.
        samples: Training samples; a batch larger than all of them is one of all of them.
        processes: How many share a batch equally.
    """
    batch = min(recipe.train.batch_size, samples)
    half = max(batch // 2 // processes, 1) * processes
    ways = [f"--set train.batch_size={half}"] if half < batch else []
    ways.append("a smaller data.image_size")
    if recipe.train.precision == "fp32":
        ways.append("--set train.precision=bf16")
    return TrainingError(f"out of memory {where}; try {', '.join(ways[:-1])}{' or ' * (len(ways) > 1)}{ways[-1]}")
