"""``model/``: the best weights and all that is needed to use them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from segzoo.data.normalise import channel_statistics
from segzoo.files import sha256_bytes, write_atomic
from segzoo.recipe import Recipe, recipe_sha256
from segzoo.recipe.data import ClassEntry
from segzoo.spec import ModelSpec

SCHEMA_VERSION = 1
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


def write_model(
    folder: Path,
    model: nn.Module,
    *,
    recipe: Recipe,
    spec: ModelSpec,
    classes: Sequence[ClassEntry],
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write the weights, then the description that holds their checksum.

    Args:
        folder: The run's ``model`` folder.
        model: The trained model.
        recipe: The resolved recipe.
        spec: The model's spec.
        classes: Names and colours by label.
        metrics: The scores, with what they were taken on and how.
        provenance: Versions and data that the weights come from.
    """
    weights = save(_apart(model.state_dict()))
    write_atomic(folder / WEIGHTS, weights)
    mean, std = channel_statistics(spec.input, recipe.model.in_channels)
    description = {
        "schema_version": SCHEMA_VERSION,
        "id": recipe.model.name,
        "revision": spec.revision,
        "params": recipe.model.params,
        "num_classes": len(classes),
        "in_channels": recipe.model.in_channels,
        "classes": [entry.model_dump(mode="json") for entry in classes],
        "palette": [list(entry.color or (0, 0, 0)) for entry in classes],
        "ignore_index": recipe.data.ignore_index,
        "mean": list(mean),
        "std": list(std),
        "image_size": recipe.data.image_size,
        "metrics": dict(metrics),
        "provenance": {
            **provenance,
            "recipe": recipe.name,
            "recipe_sha256": recipe_sha256(recipe),
            "weights_sha256": sha256_bytes(weights),
            "torch": torch.__version__,
        },
    }
    _write_description(folder / DESCRIPTION, description)


def add_scores(folder: Path, scores: Mapping[str, Any]) -> None:
    """Add to the metrics in the description of the weights in a run's ``model`` folder."""
    path = folder / DESCRIPTION
    description = json.loads(path.read_text(encoding="utf-8"))
    description["metrics"] |= scores
    _write_description(path, description)


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, copied where they share memory, as tied weights do: safetensors refuses those."""
    apart: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in state.items():
        plain = tensor.detach().cpu().contiguous()
        address = plain.untyped_storage().data_ptr()
        apart[name] = plain.clone() if address in taken else plain
        taken.add(address)
    return apart


def _write_description(path: Path, description: Mapping[str, Any]) -> None:
    write_atomic(path, json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
