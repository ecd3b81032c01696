"""The gate's images are those of the recipe, and fit the model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segzoo.data.source import Pixels, Sample
from segzoo.errors import DataError, UsageFault
from segzoo.export.validation import Validation, find_recipe_of, open_validation
from segzoo.inference.description import ModelDescription
from segzoo.recipe import Recipe, load_recipe


def describe(run: Path) -> ModelDescription:
    """Return what a run's model.json says."""
    return ModelDescription.model_validate_json((run / "model" / "model.json").read_bytes())


def change(recipe: Recipe, **data: object) -> Recipe:
    """Return a recipe with other data."""
    content = recipe.model_dump(mode="json", by_alias=True)
    content["data"] |= data
    return Recipe.model_validate_json(json.dumps(content))


def test_images_are_resized_and_masks_are_not(leave_run: Callable[..., Path]) -> None:
    """An image comes as the network sees it, its mask as the file has it."""
    run = leave_run()
    validation = open_validation(load_recipe(run / "recipe.json"), describe(run))
    assert validation.split == "val"
    assert len(validation.samples) == 5
    assert validation.first_size() == (40, 56)
    image, mask = validation.read(validation.samples[0], (20, 30))
    assert (image.dtype, image.shape) == (torch.uint8, (3, 20, 30))
    assert (mask.dtype, mask.shape) == (torch.int64, (40, 56))
    whole, _ = validation.read(validation.samples[0], (40, 56))
    assert np.array_equal(whole.permute(1, 2, 0), validation.source.read(validation.samples[0])[0])


def test_recipe_of_a_run(leave_run: Callable[..., Path], tmp_path: Path) -> None:
    """A run and its model folder have a recipe; any other folder needs one."""
    run = leave_run()
    assert find_recipe_of(run) == find_recipe_of(run / "model") == load_recipe(run / "recipe.json")
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(UsageFault, match=r"b lies in no run.*name a recipe of its data with --data"):
        find_recipe_of(tmp_path / "a" / "b")


def test_other_classes(leave_run: Callable[..., Path]) -> None:
    """Data of other classes would be scored as nonsense."""
    run = leave_run()
    recipe = change(load_recipe(run / "recipe.json"), num_classes=4)
    with pytest.raises(UsageFault, match=r"classes background, .*, but the model has background, disk, square$"):
        open_validation(recipe, describe(run))


def test_missing_split(leave_run: Callable[..., Path]) -> None:
    """A recipe whose data has no such split is told what there is."""
    run = leave_run()
    recipe = load_recipe(run / "recipe.json")
    other = recipe.model_copy(update={"eval": recipe.eval.model_copy(update={"split": "test"})})
    with pytest.raises(UsageFault, match="no split 'test'; it has train, val"):
        open_validation(other, describe(run))


@dataclasses.dataclass
class Labelled:
    """One image whose mask has a label beyond the classes."""

    ignore_index = 255
    classes = ()
    settings = ""
    splits = {"val": (Sample("street", None, None, 0),)}  # noqa: RUF012 - the protocol's

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Return image and mask."""
        return np.zeros((2, 2, 3), np.uint8), np.array([[0, 255], [7, 1]], np.uint8)


def test_labels_beyond_the_classes() -> None:
    """They are told with the file's name, and the ignored label is none of them."""
    validation = Validation(Labelled(), "val", 3)
    with pytest.raises(DataError, match="street: the mask holds the label 7, but the model has 3 classes"):
        validation.read(validation.samples[0], (2, 2))
    assert Validation(Labelled(), "val", 8).read(validation.samples[0], (2, 2))[1].tolist() == [[0, 255], [7, 1]]
