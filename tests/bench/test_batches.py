"""Batches shrink until the memory has room for them."""

from __future__ import annotations

import pytest
import torch

from segzoo.bench.batches import NoRoomError, decay, first_line, largest_that_fits


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [
        (1, [1]),
        (2, [2, 1]),
        (7, [7, 6, 4, 3, 2, 1]),
        (32, [32, 24, 16, 12, 8, 6, 4, 3, 2, 1]),
        (20, [20, 16, 12, 8, 6, 4, 3, 2, 1]),
    ],
)
def test_the_ladder(batch: int, sizes: list[int]) -> None:
    """Below the batch come powers of two and what lies halfway between them, each once."""
    assert decay(batch) == sizes


@pytest.mark.parametrize("room", [1, 5, 6, 23, 32])
def test_the_largest_step_that_fits_is_used(room: int) -> None:
    """Every step above fails and is cleaned up after, and no step below is tried."""
    tried: list[int] = []
    released: list[int] = []

    def attempt(size: int) -> str:
        tried.append(size)
        if size > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return f"{size} images"

    found = largest_that_fits(32, attempt, lambda: released.append(tried[-1]))
    size = max(step for step in decay(32) if step <= room)
    assert found == (size, f"{size} images")
    assert tried == [step for step in decay(32) if step >= size]
    assert released == tried[:-1]


def test_nothing_fits() -> None:
    """Where one image does not fit, what the allocator said comes through, without its advice."""

    def attempt(size: int) -> None:
        raise torch.OutOfMemoryError(f"CUDA out of memory for {size}\nSee the documentation")

    with pytest.raises(NoRoomError, match=r"^OutOfMemoryError: CUDA out of memory for 1$"):
        largest_that_fits(8, attempt, lambda: None)


def test_other_faults_pass() -> None:
    """An error that is not about memory is no reason to try less."""
    tried: list[int] = []

    def attempt(size: int) -> None:
        tried.append(size)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        largest_that_fits(8, attempt, lambda: None)
    assert tried == [8]


def test_the_first_line_of_an_error_has_its_class() -> None:
    """An error without words is its class."""
    assert first_line(MemoryError()) == "MemoryError"
    assert first_line(ValueError("one\ntwo")) == "ValueError: one"
