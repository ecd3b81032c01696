"""Models that were never trained, and one run that was, for all that is done with trained models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CLASSES = ("ground", "disk", "cross")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run directory of Fast-SCNN, a few steps into procedural scenes."""
    from segzoo import finetune, load_recipe

    changes = [
        "train.max_steps=6",
        "train.batch_size=4",
        "train.workers=0",
        "train.threads=1",
        "data.size=[48,64]",
        "data.image_size=[32,48]",
        'data.counts={"train":8,"val":6,"test":3}',
        "eval.batch_size=4",
    ]
    return finetune(
        load_recipe("quickstart", changes), out=tmp_path_factory.mktemp("runs") / "shapes", device="cpu"
    ).folder


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a model with random weights as training writes the best ones."""
    import torch

    from segzoo.params import validate_params
    from segzoo.plugins import get_spec
    from segzoo.recipe import Recipe
    from segzoo.recipe.data import ClassEntry
    from segzoo.runs.model_folder import write_model

    def write(
        name: str = "segzoo/fast_scnn",
        *,
        folder: str = "model",
        in_channels: int = 3,
        image_size: tuple[int, int] | None = (32, 48),
        params: dict[str, Any] | None = None,
        change: Callable[[torch.nn.Module], None] = lambda model: None,
        **metrics: Any,
    ) -> Path:
        from segzoo.build import build_from_spec

        spec = get_spec(name)
        checked = validate_params(spec, params or {})
        torch.manual_seed(0)
        model = build_from_spec(spec, checked, num_classes=len(CLASSES), in_channels=in_channels)
        change(model)
        data = {
            "recipe_version": 1,
            "name": "shapes",
            "model": {"name": name, "params": checked.model_dump(mode="json"), "in_channels": in_channels},
            "data": {"format": "shapes", "image_size": image_size},
        }
        target = tmp_path / folder
        target.mkdir()
        write_model(
            target,
            model,
            recipe=Recipe.model_validate_json(json.dumps(data)),
            spec=spec,
            classes=[ClassEntry(name=each, color=(80 * label, 10, 20)) for label, each in enumerate(CLASSES)],
            metrics=metrics,
            provenance={"data_fingerprint": "abc", "device": "cpu"},
        )
        return target

    return write


@pytest.fixture
def describe() -> Callable[..., Any]:
    """Return a function that describes a model of three classes and images of three channels."""
    from segzoo.inference.description import ModelDescription

    def description(**fields: Any) -> ModelDescription:
        base = {
            "schema_version": 1,
            "id": "segzoo/fast_scnn",
            "revision": 1,
            "params": {},
            "num_classes": len(CLASSES),
            "in_channels": 3,
            "classes": [{"name": name, "color": [80 * label, 10, 20]} for label, name in enumerate(CLASSES)],
            "palette": [[80 * label, 10, 20] for label in range(len(CLASSES))],
            "ignore_index": 255,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "image_size": None,
            "metrics": {},
            "provenance": {"weights_sha256": "0" * 64},
        }
        return ModelDescription.model_validate_json(json.dumps(base | fields))

    return description
