"""Models on CUDA: a training step and an evaluation of each wait for nothing and mix no devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from segzoo.plugins import default_registry
from segzoo.recipe import Recipe

SOME = {
    "fast_scnn": (),
    "unet_resnet34": (),
    "segnet": (),
    "aspp_mobilenet_v2": (),
    "smp_segformer": ('model.params={"encoder":"mit_b0"}',),
}
"""Models of different building blocks, with parameters."""


def check_step_and_evaluation(training: Callable[[Recipe, str], Any], recipe: Recipe, null_gpu: Any) -> None:
    """Run a step and an evaluation on the second device, so that what is on the default one would not fit."""
    trained = training(recipe, "cuda:1")
    spent = null_gpu.spent(trained.train)
    assert spent.waits == {}
    assert spent.launches > 0
    scorer, images = trained.parts.scorer, trained.batch.images
    with torch.inference_mode():
        scorer(images)
        spent = null_gpu.spent(lambda: scorer(images))
    assert spent.waits == {}
    assert spent.launches > 0


@pytest.mark.parametrize(("name", "params"), SOME.items(), ids=SOME)
def test_a_model_does_not_wait(
    small: Callable[..., Recipe],
    training: Callable[[Recipe, str], Any],
    null_gpu: Any,
    name: str,
    params: tuple[str, ...],
) -> None:
    """A step and an evaluation synchronise nothing, copy nothing to the host and nothing from pageable memory."""
    check_step_and_evaluation(training, small(f"model.name={name}", *params), null_gpu)


@pytest.mark.slow
@pytest.mark.parametrize("name", [row.id for row in default_registry().list(origin="segzoo")])
def test_no_model_waits(
    small: Callable[..., Recipe], training: Callable[[Recipe, str], Any], null_gpu: Any, name: str
) -> None:
    """The same for every built-in model."""
    size = max(64, default_registry().resolve(name).spec().input.min_size)
    sizes = (f"data.size=[{size},{size}]", f"data.image_size=[{size},{size}]")
    check_step_and_evaluation(training, small(f"model.name={name}", *sizes), null_gpu)
