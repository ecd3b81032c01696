"""The picture shows samples as they are and as the first epoch of training sees them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segzoo.data.drawing import GAP, LINE, WIDTH, Drawn, draw, draw_recipe
from segzoo.data.loading.loaders import Plan, train_loader
from segzoo.data.opening import open_source
from segzoo.data.source import Pixels
from segzoo.data.transforms import build_augmentation
from segzoo.errors import DataError
from segzoo.recipe.data import ClassEntry
from segzoo.recipe.schema import Recipe

CLASSES = (ClassEntry(name="red", color=(200, 0, 0)), ClassEntry(name="green", color=(0, 200, 0)))


def shapes(**data: object) -> Recipe:
    """Return a recipe of drawn scenes that are flipped and turned."""
    content = {
        "recipe_version": 1,
        "name": "shapes",
        "model": {"name": "fast_scnn"},
        "data": {"format": "shapes", "counts": {"train": 5, "val": 2}, **data},
        "augment": [{"name": "HorizontalFlip", "p": 0.5}, {"name": "Rotate", "limit": [-45, 45], "p": 1.0}],
    }
    return Recipe.model_validate_json(json.dumps(content))


def pixels(picture: bytes) -> Pixels:
    """Return a PNG's colours."""
    with Image.open(io.BytesIO(picture)) as image:
        return np.array(image.convert("RGB"))


def sample(mask: Pixels, grey: int = 100) -> Drawn:
    """Return a sample of one grey, before and after."""
    image = np.full((*mask.shape, 3), grey, np.uint8)
    return Drawn("one", (image, mask), (image, mask))


def test_mask_lies_over_the_image() -> None:
    """The second column is a blend of the image and the colours of the classes; the first is the image alone."""
    picture = pixels(draw([sample(np.ones((WIDTH, WIDTH), np.uint8))], CLASSES, 255))
    row = 2 * LINE + WIDTH // 2
    assert picture[row, GAP + WIDTH // 2].tolist() == [100, 100, 100]
    red, green, blue = picture[row, 2 * GAP + WIDTH + WIDTH // 2].tolist()
    assert red == blue < 100 < green


def test_legend_shows_the_classes_that_occur() -> None:
    """A class that is in no mask has no swatch, and ignored pixels are striped, in the legend too."""

    def swatches(*values: int) -> Pixels:
        mask = np.resize(np.array(values, np.uint8), (WIDTH, WIDTH))
        return pixels(draw([sample(mask)], CLASSES, 255))[2 * LINE + WIDTH + GAP :].reshape(-1, 3)

    def has(found: Pixels, color: tuple[int, int, int]) -> bool:
        return bool((found == color).all(axis=1).any())

    only = swatches(1)
    assert has(only, (0, 200, 0))
    assert not has(only, (200, 0, 0))
    assert not has(only, (110, 110, 110))
    both = swatches(0, 255)
    assert has(both, (200, 0, 0))
    assert has(both, (110, 110, 110))


def test_augmented_sample_is_that_of_the_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn is bit for bit what the loader yields in epoch 0."""
    recipe = shapes()
    drawn: list[Drawn] = []

    def keep(samples: list[Drawn], *_: object) -> bytes:
        drawn.extend(samples)
        return b""

    monkeypatch.setattr("segzoo.data.drawing.draw", keep)
    draw_recipe(recipe, split="train", count=5)
    source = open_source(recipe.data, seed=recipe.train.seed)
    transform = build_augmentation(recipe.augment, ignore_index=255, image_size=None)
    plan = Plan(5, 1, recipe.train.seed)
    loader = train_loader(
        source, "train", transform, plan, seed=recipe.train.seed, start=0, stop=5, workers=0, pin_memory=False
    )
    seen = {batch.names[0]: (batch.images[0].permute(1, 2, 0).numpy(), batch.masks[0].numpy()) for batch in loader}
    assert len(drawn) == 5
    for one in drawn:
        for ours, theirs in zip(one.after, seen[one.name], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert not np.array_equal(one.before[0], one.after[0])


def test_seed_changes_the_augmentation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another seed the same samples are drawn, other after augmentation; with train.seed nothing changes."""
    drawn: list[list[Drawn]] = []
    monkeypatch.setattr("segzoo.data.drawing.draw", lambda samples, *_: drawn.append(list(samples)) or b"")
    for seed in (None, shapes().train.seed, 7):
        draw_recipe(shapes(), split="train", count=3, seed=seed)
    usual, same, other = drawn
    for one, two, three in zip(usual, same, other, strict=True):
        np.testing.assert_array_equal(one.before[0], three.before[0])
        np.testing.assert_array_equal(one.after[0], two.after[0])
        assert not np.array_equal(one.after[0], three.after[0])


def test_samples_are_spread_over_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and the last are among them; more than there are is all of them, once."""
    names: list[list[str]] = []
    monkeypatch.setattr(
        "segzoo.data.drawing.draw", lambda samples, *_: names.append([one.name for one in samples]) or b""
    )
    ordered = [one.name for one in open_source(shapes().data, seed=0).splits["train"]]
    for count in (1, 3, 9):
        draw_recipe(shapes(), split="train", count=count)
    assert names == [ordered[:1], ordered[::2], ordered]


def test_image_size_is_what_the_network_sees() -> None:
    """After augmentation the picture has the shape of data.image_size."""
    tall = pixels(draw_recipe(shapes(image_size=(128, 64)), split="val", count=1))
    square = pixels(draw_recipe(shapes(), split="val", count=1))
    assert tall.shape[0] > square.shape[0]


@pytest.mark.parametrize("size", [(1, 1), (5000, 3), (3, 5000)])
def test_strange_sizes_are_drawn(size: tuple[int, int]) -> None:
    """One pixel, a column and a row fit on the picture."""
    picture = pixels(draw([sample(np.zeros(size, np.uint8))], CLASSES, 255))
    assert picture.shape[1] == GAP + 4 * (WIDTH + GAP)
    assert picture.shape[0] < 3 * LINE + 3 * WIDTH


def test_other_channels_are_drawn() -> None:
    """One channel is grey, and of five the first three are shown."""
    mask = np.zeros((WIDTH, WIDTH), np.uint8)
    images = [np.full((WIDTH, WIDTH, channels), 77, np.uint8) for channels in (1, 5)]
    for image in images:
        picture = pixels(draw([Drawn("one", (image, mask), (image, mask))], CLASSES, 255))
        assert picture[2 * LINE + 9, GAP + 9].tolist() == [77, 77, 77]


def test_unknown_split_and_count_are_refused() -> None:
    """A split that is not there is named with those that are; at least one sample is drawn."""
    with pytest.raises(DataError, match=r"no split 'vall'; it has train, val\. Did you mean 'val'"):
        draw_recipe(shapes(), split="vall", count=1)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        draw_recipe(shapes(), split="val", count=0)


def test_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    """A sample that cannot be laid over is told by its mask."""
    for kind, shape in (("images", (9, 9, 3)), ("masks", (5, 9))):
        (tmp_path / "train" / kind).mkdir(parents=True)
        Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / "train" / kind / "a.png")
    data = {
        "format": "folder",
        "root": str(tmp_path),
        "classes": ({"name": "a"}, {"name": "b"}),
        "splits": {"train": "train"},
    }
    recipe = Recipe.model_validate(
        {
            "recipe_version": 1,
            "name": "mine",
            "model": {"name": "fast_scnn"},
            "data": data,
            "eval": {"split": "train"},
        }
    )
    with pytest.raises(DataError, match=r"a\.png: the mask has 9x5 pixels, its image 9x9"):
        draw_recipe(recipe, split="train", count=1)
