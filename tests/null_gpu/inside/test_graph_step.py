"""A step as a CUDA graph is launched at once, and waits for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from segzoo.recipe import Recipe
from segzoo.training.graph_step import WARM_UP, GraphStep
from segzoo.training.optimizers import set_learning_rate

SETTINGS = {
    "fp32": ("train.precision=fp32",),
    "bf16": ("train.precision=bf16", "train.ema_decay=0.9", "train.grad_clip=1.0"),
    "fp16": ("train.precision=fp16", "train.grad_clip=1.0"),
    "accumulated, sgd": ("train.accumulate=2", "optimizer.name=sgd", "optimizer.momentum=0.9"),
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_a_recorded_step_is_one_launch(
    small: Callable[..., Recipe], training: Callable[[Recipe, str], Any], null_gpu: Any, changes: tuple[str, ...]
) -> None:
    """After the warm-up each step is one graph and a few kernels; recording violates no rule of captures."""
    built = training(small("train.cuda_graph=true", *changes), "cuda")
    step = GraphStep(built.step)
    batches = [built.batch] * built.parts.recipe.train.accumulate
    before = null_gpu.counts()
    for _ in range(WARM_UP + 1):
        step(batches)
    assert null_gpu.counts().capture_violations == before.capture_violations
    for rate in (0.1, 0.2):
        set_learning_rate(built.parts.optimizer, rate)
        spent = null_gpu.spent(lambda: step(batches))
        assert (spent.graph_launches, spent.waits) == (1, {})
        assert spent.launches < 10
