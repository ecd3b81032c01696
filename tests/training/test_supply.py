"""A run's batches lie in the memory that suits its device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from segzoo.plugins import default_registry
from segzoo.recipe import Recipe, resolve_recipe
from segzoo.runtime.distributed import ALONE
from segzoo.training import supply
from segzoo.training.building import build_parts
from segzoo.training.supply import Supply


@pytest.mark.parametrize(("device", "pinned"), [("cuda", True), ("cpu", False), ("mps", False)])
def test_batches_for_cuda_are_pinned(
    small: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, device: str, pinned: bool
) -> None:
    """In training and in evaluation alike; elsewhere page-locked memory helps nobody."""
    asked: list[bool] = []

    def loader(*_: Any, pin_memory: bool, **__: Any) -> list[Any]:
        asked.append(pin_memory)
        return []

    for name in ("train_loader", "eval_loader"):
        monkeypatch.setattr(supply, name, loader)
    parts, _ = build_parts(resolve_recipe(small(), default_registry()), torch.device("cpu"))
    batches = Supply(dataclasses.replace(parts, device=torch.device(device)), ALONE)
    list(batches.training(0))
    list(batches.evaluation())
    assert asked == [pinned, pinned]
