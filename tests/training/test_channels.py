"""Images of one, four and five channels are trained from the files to the report, and told apart from RGB."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file

import segzoo
from segzoo.data.draws import derive_seed
from segzoo.errors import DataError, RecipeError, UsageFault
from segzoo.plugins import default_registry
from segzoo.recipe import Recipe, resolve_recipe
from segzoo.runtime.device import choose_device
from segzoo.training.building import build_parts
from segzoo.training.dry_run import check_run
from segzoo.training.finetune import Run, finetune
from segzoo.weights.transfer import adapt_first_conv

SIZE = (40, 56)


def write_data(root: Path, channels: int) -> Path:
    """Write four training and two validation images of some channels, with masks that the first channel shows."""
    for split, count in (("train", 4), ("val", 2)):
        images, masks = root / split / "images", root / split / "masks"
        images.mkdir(parents=True)
        masks.mkdir()
        for number in range(count):
            draw = np.random.default_rng(derive_seed(channels, split, number))
            labels = (draw.random((5, 7)) > 0.5).repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)
            pixels = draw.integers(0, 256, (*SIZE, channels), np.uint8)
            pixels[..., 0] = 40 + 160 * labels
            if channels > 4:
                tifffile.imwrite(images / f"{number}.tif", pixels, photometric="minisblack", planarconfig="contig")
            else:
                Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(images / f"{number}.png")
            Image.fromarray(labels).save(masks / f"{number}.png")
    return root


def make(root: Path, channels: int, **changes: object) -> Recipe:
    """Return a recipe of two steps an epoch."""
    train = {"epochs": 1, "batch_size": 2, "threads": 1, "workers": 0, "seed": 3}
    model = {"name": "fast_scnn", "weights": None, "in_channels": channels}
    data = {
        "recipe_version": 1,
        "name": "channels",
        "model": model | dict(changes.pop("model", {})),  # type: ignore[call-overload]
        "data": {
            "format": "folder",
            "root": str(root),
            "splits": {"train": "train", "val": "val"},
            "classes": [{"name": "dark"}, {"name": "bright"}],
            "image_size": [32, 48],
        },
        "augment": [{"name": "HorizontalFlip", "p": 0.5}, {"name": "RandomBrightnessContrast", "p": 0.5}],
        "scheduler": {"name": "constant"},
        "train": train | dict(changes.pop("train", {})),  # type: ignore[call-overload]
        **changes,
    }
    return Recipe.model_validate_json(json.dumps(data))


@pytest.mark.parametrize("channels", [*(pytest.param(channels, marks=pytest.mark.slow) for channels in (1, 4)), 5])
def test_from_the_files_to_the_report(tmp_path: Path, channels: int) -> None:
    """A run on other channels leaves all that a run leaves, goes on where it stopped, and its model can be used."""
    recipe = make(write_data(tmp_path / "data", channels), channels)

    run = finetune(recipe, out=tmp_path / "run", device="cpu")

    assert run.record is not None
    assert run.record.status == "finished"
    assert run.record.parameters == check_run(resolve_recipe(recipe, default_registry()))
    assert run.report.is_file()
    assert (run.folder / "figures/samples.png").is_file()
    about = json.loads((run.model / "model.json").read_text(encoding="utf-8"))
    assert about["in_channels"] == len(about["mean"]) == len(about["std"]) == channels
    model = segzoo.create_model("fast_scnn", num_classes=2, in_channels=channels, weights=str(run.folder))
    assert model(torch.zeros(2, channels, 32, 48)).shape == (2, 2, 32, 48)

    longer = finetune(make(tmp_path / "data", channels, train={"epochs": 2}), out=run.folder, device="cpu", resume=True)

    whole = finetune(make(tmp_path / "data", channels, train={"epochs": 2}), out=tmp_path / "whole", device="cpu")
    assert [row["train_loss"] for row in longer.metrics] == [row["train_loss"] for row in whole.metrics]
    assert (longer.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize("channels", [1, 5])
def test_weights_of_rgb_are_converted(tmp_path: Path, channels: int) -> None:
    """A run on RGB gives its weights to one of other channels; only the first convolution is converted."""
    first = finetune(make(write_data(tmp_path / "rgb", 3), 3), out=tmp_path / "first", device="cpu")
    recipe = make(write_data(tmp_path / "other", channels), channels, model={"weights": str(first.folder)})

    parts, _ = build_parts(resolve_recipe(recipe, default_registry()), choose_device("cpu"))

    given = load_file(Run(tmp_path / "first").model / "model.safetensors")
    own = parts.model.state_dict()
    changed = [name for name, tensor in own.items() if tensor.shape != given[name].shape]
    assert len(changed) == 1
    assert torch.equal(own[changed[0]], adapt_first_conv(given[changed[0]], channels))
    assert all(torch.equal(tensor, given[name]) for name, tensor in own.items() if name not in changed)


def test_images_of_other_channels_are_named(tmp_path: Path) -> None:
    """All of them are told before the run directory is made."""
    recipe = make(write_data(tmp_path / "data", 5), 4)
    with pytest.raises(DataError, match=r"train/images/0\.tif: it has 5 bands where model\.in_channels is 4") as caught:
        finetune(recipe, out=tmp_path / "run", device="cpu")
    assert str(caught.value).count("5 bands") == 6
    assert not (tmp_path / "run").exists()


def test_a_batch_of_one_is_told_by_its_layer(tmp_path: Path) -> None:
    """The check before the first step tries the model on images of its channels."""
    recipe = make(write_data(tmp_path / "data", 5), 5, train={"batch_size": 1})
    with pytest.raises(UsageFault, match=r"batch_size 1: the layer .* cannot train on one image of 32x48 pixels"):
        finetune(recipe, out=tmp_path / "run", device="cpu")


def test_augmentation_that_needs_colours_is_refused(tmp_path: Path) -> None:
    """It is told by name before any file is read."""
    recipe = make(tmp_path / "nowhere", 4, augment=[{"name": "HueSaturationValue"}])
    with pytest.raises(RecipeError, match=r"augment\.0\.name: 'HueSaturationValue' acts on images of 3 channels"):
        finetune(recipe, out=tmp_path / "run", device="cpu")
