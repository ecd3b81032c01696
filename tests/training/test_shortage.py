"""Memory that runs out is told with what to lower."""

from __future__ import annotations

import pytest
import torch

from segzoo.data.loading.plan import Plan
from segzoo.errors import TrainingError
from segzoo.recipe import load_recipe
from segzoo.runtime.device import lacks_memory
from segzoo.training.shortage import explain_shortage, shortage_told


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
    assert lacks_memory(error) is short


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
    plan = Plan(images, batch, 0, processes=processes)
    assert explain_shortage("in step 3", recipe, plan) == f"out of memory in step 3; try {ways}"


def test_a_shortage_inside_is_told() -> None:
    """Its error has the place, and the cause; any other error passes."""
    recipe = load_recipe("quickstart")
    plan = Plan(64, recipe.train.batch_size, 0)
    with (
        pytest.raises(TrainingError, match=r"^out of memory before the first step; try --set train\.batch_size=8, "),
        shortage_told(lambda: "before the first step", recipe, plan),
    ):
        raise MemoryError
    with (
        pytest.raises(RuntimeError, match="another"),
        shortage_told(lambda: pytest.fail("nothing is short"), recipe, plan),
    ):
        raise RuntimeError("another")
