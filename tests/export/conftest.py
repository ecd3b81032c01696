"""Runs that were never trained: a recipe with procedural scenes, and random weights as training writes them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segzoo.export.onnx import PACKAGES


@pytest.fixture
def onnx() -> None:
    """Skip where the extra onnx is not installed."""
    if any(importlib.util.find_spec(package) is None for package in PACKAGES):
        pytest.skip("the extra onnx is not installed")


@pytest.fixture
def leave_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that leaves the run of a model behind, and returns its directory."""
    import torch

    from segzoo.build import build_from_spec
    from segzoo.data.opening import open_source
    from segzoo.params import validate_params
    from segzoo.plugins import get_spec
    from segzoo.recipe import Recipe, recipe_json
    from segzoo.runs.model_folder import write_model

    def bring_to_scale(model: torch.nn.Module, size: tuple[int, int]) -> None:
        """Let logits reach no more than 10, as in trained models; random weights may make them hundreds."""
        with torch.no_grad():
            largest = model.eval()(torch.randn(1, 3, *size)).abs().max()
            last = [layer for layer in model.head.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
            for parameter in last.parameters():
                parameter *= min(1.0, 10 / float(largest))

    def leave(
        name: str = "segzoo/fast_scnn", *, image_size: tuple[int, int] | None = (32, 48), params: Any = None
    ) -> Path:
        spec = get_spec(name)
        checked = validate_params(spec, params or {})
        data = {
            "recipe_version": 1,
            "name": "shapes",
            "model": {"name": name, "params": checked.model_dump(mode="json")},
            "data": {
                "format": "shapes",
                "size": [40, 56],
                "num_classes": 3,
                "counts": {"train": 2, "val": 5},
                "image_size": image_size,
            },
        }
        recipe = Recipe.model_validate_json(json.dumps(data))
        classes = open_source(recipe.data, seed=0).classes
        torch.manual_seed(0)
        model = build_from_spec(spec, checked, num_classes=len(classes), in_channels=3)
        bring_to_scale(model, image_size or (64, 64))
        run = tmp_path / f"run_{spec.name}"
        (run / "model").mkdir(parents=True)
        (run / "recipe.json").write_text(recipe_json(recipe))
        write_model(
            run / "model",
            model,
            recipe=recipe,
            spec=spec.refined(checked),
            classes=classes,
            metrics={"mean_iou": 0.5},
            provenance={"data_fingerprint": "abc", "pretrained": None},
        )
        return run

    return leave
