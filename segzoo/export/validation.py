"""Real images with their masks, on which an export is compared with its original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from segzoo.data.opening import open_source
from segzoo.data.source import Sample, Source
from segzoo.data.transforms import resize
from segzoo.errors import DataError, UsageFault
from segzoo.inference.description import ModelDescription
from segzoo.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class Validation:
    """The split that a recipe validates on.

    Args:
        source: The data.
        split: Name of the split.
        num_classes: How many labels there are.
    """

    source: Source
    split: str
    num_classes: int

    @property
    def samples(self) -> Sequence[Sample]:
        """The samples, not yet read."""
        return self.source.splits[self.split]

    def first_size(self) -> tuple[int, int]:
        """Return height and width of the first image."""
        height, width = self.source.read(self.samples[0])[0].shape[:2]
        return height, width

    def read(self, sample: Sample, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return an image, resized, as bytes ``(C, H, W)``, and its mask in the file's own size, int64.

        Raises:
            DataError: If a file cannot be read, or the mask holds a label that is no class.
        """
        pixels, mask = self.source.read(sample)
        labels = torch.from_numpy(mask).long()
        wrong = labels[(labels >= self.num_classes) & (labels != self.source.ignore_index)]
        if wrong.numel():
            raise DataError(
                f"{sample.name}: the mask holds the label {int(wrong[0])}, but the model has {self.num_classes} classes"
            )
        image, _ = resize(pixels, None, size)
        return torch.from_numpy(image).permute(2, 0, 1).contiguous(), labels


def open_validation(recipe: Recipe, description: ModelDescription) -> Validation:
    """Find the images of a recipe's validation split.

    Args:
        recipe: Where the data is.
        description: The model, which has to have the data's classes.

    Raises:
        DataError: If the data is not there.
        UsageFault: If it has other classes than the model.
    """
    source = open_source(recipe.data, seed=recipe.train.seed, in_channels=description.in_channels)
    names = tuple(entry.name for entry in source.classes)
    if names != description.names:
        raise UsageFault(
            f"the data of recipe {recipe.name!r} has the classes {', '.join(names)}, "
            f"but the model has {', '.join(description.names)}"
        )
    split = recipe.eval.split
    if split not in source.splits:
        raise UsageFault(
            f"the data of recipe {recipe.name!r} has no split {split!r}; it has {', '.join(source.splits)}"
        )
    return Validation(source, split, len(names))


def find_recipe_of(source: Path) -> Recipe:
    """Return the recipe of the run that a folder is, or lies in.

    Raises:
        UsageFault: If there is none.
    """
    for folder in (source, source.parent):
        if (folder / "recipe.json").is_file():
            return load_recipe(folder / "recipe.json")
    raise UsageFault(
        f"{source} lies in no run, so that its validation images are not known; name a recipe of its data with --data"
    )
