"""Out of memory is recognised, and the error says what to lower."""

from __future__ import annotations

import pytest
import torch

from segzoo.errors import SegzooError
from segzoo.recipe import load_recipe
from segzoo.runtime.out_of_memory import explaining_memory, is_out_of_memory, lower, smaller_batch


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA error"), True),
        (MemoryError("Unable to allocate 18.8 GiB"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (OSError("out of memory"), False),
    ],
)
def test_what_counts_as_a_shortage(error: Exception, short: bool) -> None:
    """Classes and words of torch and Python tell it; other errors are left as they are."""
    assert is_out_of_memory(error) is short


@pytest.mark.parametrize(
    ("batch", "images", "processes", "precision", "ways"),
    [
        (8, 100, 1, "fp32", "--set train.batch_size=4, a smaller data.image_size or --set train.precision=bf16"),
        (100000, 300, 1, "bf16", "--set train.batch_size=150 or a smaller data.image_size"),
        (6, 100, 2, "fp32", "--set train.batch_size=2, a smaller data.image_size or --set train.precision=bf16"),
        (4, 100, 4, "fp16", "a smaller data.image_size"),
        (1, 100, 1, "fp16", "a smaller data.image_size"),
    ],
)
def test_what_to_lower_can_be_lowered(batch: int, images: int, processes: int, precision: str, ways: str) -> None:
    """The batch that is proposed is smaller than what a step had, and one that the processes can share."""
    recipe = load_recipe("quickstart", [f"train.batch_size={batch}", f"train.precision={precision}"])
    error = smaller_batch("in step 3", recipe, samples=images, processes=processes)
    assert str(error) == f"out of memory in step 3; try {ways}"


def test_an_error_inside_is_explained() -> None:
    """Out of memory becomes the error with the way out, and any other error passes."""
    way_out = lower("use a smaller batch")
    with pytest.raises(SegzooError, match=r"^out of memory; use a smaller batch$"), explaining_memory(lambda: way_out):
        raise MemoryError
    with pytest.raises(RuntimeError, match="another"), explaining_memory(lambda: pytest.fail("memory is left")):
        raise RuntimeError("another")


def test_the_cpu_allocator_is_understood() -> None:
    """What torch really raises on the CPU is taken for too little memory."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_the_reason_may_lie_below() -> None:
    """A library that wraps the allocator's error hides it from nobody; another cause stays another."""
    wrapped = ValueError("forward failed")
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped)
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert not is_out_of_memory(ValueError("CUDA out of memory is what I am talking about"))
