"""A trained model is found, checked and built from its folder alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import segzoo
from segzoo.errors import MissingDistribution, UsageFault
from segzoo.inference.loading import load, load_model, load_trained


def change(folder: Path, **fields: Any) -> None:
    """Change fields of a description."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_every_way_to_name_a_run_gives_its_weights(run_folder: Path) -> None:
    """The run, its model folder and the files in it name one model, in evaluation mode, with the weights of the run."""
    from safetensors.torch import load_file

    expected = load_file(run_folder / "model" / "model.safetensors")
    for source in (run_folder, str(run_folder / "model"), run_folder / "model" / "model.safetensors"):
        loaded = load_model(source)
        found = loaded.model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        assert not any(module.training for module in loaded.model.modules())


def test_description_is_typed(run_folder: Path) -> None:
    """What model.json says comes as numbers, tuples and classes, with what the run recorded beside the checksum."""
    description = load_model(run_folder).description
    assert description.id == "segzoo/fast_scnn"
    assert description.names == ("background", "disk", "square", "triangle", "ring")
    assert description.image_size == (32, 48)
    assert len(description.palette) == description.num_classes == 5
    assert description.metrics["passport"]["split"] == "val"
    assert description.provenance.model_dump()["recipe"] == "quickstart"
    assert description.window is None


def test_parameters_of_the_model_are_those_it_was_trained_with(write_folder: Callable[..., Path]) -> None:
    """The description's parameters and channels decide what is built."""
    folder = write_folder("segzoo/unet", params={"dropout": 0.2}, in_channels=2)
    loaded = load_trained(folder)
    assert loaded.spec.name == "unet"
    assert loaded.model(torch.rand(1, 2, 32, 32)).shape == (1, 3, 32, 32)


def test_damaged_weights_are_refused(write_folder: Callable[..., Path]) -> None:
    """One flipped bit in the weights never loads."""
    folder = write_folder()
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UsageFault, match=r"model\.safetensors is damaged"):
        load_model(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"std": [1.0, 1.0]}, "std has 2 entries where there are 3"),
        ({"palette": []}, "palette has 0 entries where there are 3"),
        ({"image_size": [0, 4]}, r"image_size\.0"),
        ({"revision": 99}, "holds revision 99 of segzoo/fast_scnn"),
        ({"params": {"dropuot": 1}}, "dropuot"),
        ({"schema_version": 7}, "schema_version"),
    ],
)
def test_bad_descriptions_are_refused(write_folder: Callable[..., Path], fields: dict[str, Any], message: str) -> None:
    """A description that contradicts itself or the model names what is wrong."""
    folder = write_folder()
    change(folder, **fields)
    with pytest.raises(UsageFault, match=message):
        load_model(folder)


def test_missing_plugin_is_named(write_folder: Callable[..., Path]) -> None:
    """A model of a package that is not installed says what to install."""
    folder = write_folder()
    change(folder, id="acme-seg/unet_lite")
    with pytest.raises(MissingDistribution, match="pip install acme-seg"):
        load_model(folder)


def test_models_that_shrink_images_are_refused(write_folder: Callable[..., Path]) -> None:
    """A network without padding has no logits along the border, so that no image has a mask of its own size."""
    folder = write_folder("segzoo/unet", params={"padding": 0})
    with pytest.raises(UsageFault, match="not available in this version"):
        load_model(folder)


def test_load_is_public(run_folder: Path) -> None:
    """segzoo.load gives what the module does."""
    assert segzoo.load is load
    assert segzoo.load(run_folder, device="cpu").classes[0] == "background"
