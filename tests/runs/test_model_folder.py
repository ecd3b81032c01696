"""``model/`` holds the weights in a form that needs no segzoo, and a description that fits them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from segzoo.files import sha256_file
from segzoo.recipe import Recipe, recipe_sha256
from segzoo.recipe.data import ClassEntry
from segzoo.runs.model_folder import DESCRIPTION, WEIGHTS, write_model
from segzoo.spec import InputSpec, ModelSpec, Params

CLASSES = (ClassEntry(name="ground", color=(1, 2, 3)), ClassEntry(name="Straße", color=None))
KEYS = (
    "schema_version id revision params num_classes in_channels classes palette ignore_index mean std image_size "
    "metrics provenance"
)


class NoParams(Params):
    """Nothing to choose."""


SPEC = ModelSpec(
    name="tiny",
    summary="A network for tests",
    family="test",
    builder="nowhere:build",
    params=NoParams,
    license="MIT",
    input=InputSpec(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
    revision=4,
)


def recipe(in_channels: int = 3) -> Recipe:
    """Return a recipe with an id and parameters."""
    data = {
        "recipe_version": 1,
        "name": "shapes",
        "model": {"name": "segzoo/fast_scnn", "params": {"dropout": 0.2}, "in_channels": in_channels},
        "data": {"format": "shapes", "image_size": [96, 64]},
    }
    return Recipe.model_validate_json(json.dumps(data))


def write(folder: Path, model: nn.Module, *, in_channels: int = 3, **metrics: Any) -> dict[str, Any]:
    """Write a model and return its description."""
    write_model(
        folder,
        model,
        recipe=recipe(in_channels),
        spec=SPEC,
        classes=CLASSES,
        metrics={"split": "val", "mean_iou": 0.5, "per_class_iou": {"ground": 0.5, "Straße": None}, **metrics},
        provenance={"data_fingerprint": "abc", "device": "cpu"},
    )
    description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    return description


def test_weights_are_the_models(tmp_path: Path) -> None:
    """Every tensor, buffers too, is read by safetensors alone, with its bits and type, whatever its layout was."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    model(torch.rand(2, 3, 8, 8))

    write(tmp_path, model)

    tensors, expected = load_file(tmp_path / WEIGHTS), model.state_dict()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    assert all(tensors[name].dtype == tensor.dtype for name, tensor in expected.items())


def test_tied_weights_are_written(tmp_path: Path) -> None:
    """Two names of one tensor are two entries, so that the file can be loaded strictly."""
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model[1].weight = model[0].weight

    write(tmp_path, model)

    model.load_state_dict(load_file(tmp_path / WEIGHTS), strict=True)


def test_description_has_all_that_is_needed(tmp_path: Path) -> None:
    """Its keys are the documented ones, in their order, with the values of recipe, spec and classes."""
    description = write(tmp_path, nn.Linear(2, 2))

    assert " ".join(description) == KEYS
    metrics, provenance = description.pop("metrics"), description.pop("provenance")
    assert description == {
        "schema_version": 1,
        "id": "segzoo/fast_scnn",
        "revision": 4,
        "params": {"dropout": 0.2},
        "num_classes": 2,
        "in_channels": 3,
        "classes": [{"name": "ground", "color": [1, 2, 3]}, {"name": "Straße", "color": None}],
        "palette": [[1, 2, 3], [0, 0, 0]],
        "ignore_index": 255,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "image_size": [96, 64],
    }
    assert metrics["per_class_iou"] == {"ground": 0.5, "Straße": None}
    assert provenance["recipe"] == "shapes"
    assert provenance["recipe_sha256"] == recipe_sha256(recipe())
    assert provenance["torch"] == torch.__version__
    assert provenance["data_fingerprint"] == "abc"


@pytest.mark.parametrize(
    ("in_channels", "mean", "std"),
    [
        (1, [0.2], [0.5]),
        (4, [0.1, 0.2, 0.3, 0.1], [0.4, 0.5, 0.6, 0.4]),
        (5, [0.1, 0.2, 0.3, 0.1, 0.2], [0.4, 0.5, 0.6, 0.4, 0.5]),
    ],
)
def test_description_normalises_every_channel(
    tmp_path: Path, in_channels: int, mean: list[float], std: list[float]
) -> None:
    """Whoever uses the model finds a mean and a deviation for each of its channels."""
    description = write(tmp_path, nn.Linear(2, 2), in_channels=in_channels)

    assert description["in_channels"] == in_channels
    assert description["mean"] == pytest.approx(mean)
    assert description["std"] == pytest.approx(std)


def test_checksum_ties_the_two_files(tmp_path: Path) -> None:
    """The description holds the SHA-256 of the weights, also after better weights took their place."""
    for _ in range(2):
        description = write(tmp_path, nn.Linear(2, 2))
        assert description["provenance"]["weights_sha256"] == sha256_file(tmp_path / WEIGHTS)

    assert {path.name for path in tmp_path.iterdir()} == {WEIGHTS, DESCRIPTION}


def test_nan_is_never_written(tmp_path: Path) -> None:
    """A score that is no number is refused, and what was described before stays."""
    before = write(tmp_path, nn.Linear(2, 2))

    with pytest.raises(ValueError, match="JSON compliant"):
        write(tmp_path, nn.Linear(2, 2), mean_dice=float("nan"))

    assert json.loads((tmp_path / DESCRIPTION).read_text(encoding="utf-8")) == before
