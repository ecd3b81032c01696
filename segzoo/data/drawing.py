"""Samples as a picture: before and after augmentation, their masks laid over them, and the classes' colours."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segzoo.data.draws import derive_seed
from segzoo.data.files.images import visible
from segzoo.data.findings import printable
from segzoo.data.legend import GAP, INK, LINE, SWATCH, draw_legend, letters
from segzoo.data.opening import list_source
from segzoo.data.source import Pixels, Sample, Source, refuse_empty
from segzoo.data.transforms import build_augmentation
from segzoo.errors import DataError, did_you_mean
from segzoo.recipe.data import ClassEntry
from segzoo.recipe.schema import Recipe

HEADINGS = ("image", "its mask", "augmented", "its mask")
WIDTH = 280
"""Pixels of a column; every picture is scaled to it, its shape kept up to twice the width."""
STRIPES = np.array([(255, 255, 255), (110, 110, 110)], np.uint8)
"""Diagonal stripes mark ignored pixels: no class has such a colour."""
SHARE = 0.55
"""How much of a class's colour lies over the image."""

Colors = NDArray[np.uint8]


class Drawn(NamedTuple):
    """One sample as it is read and as training sees it in its first epoch.

    Args:
        name: The sample's name.
        before: Image and mask as the files have them.
        after: Image and mask after augmentation and resizing.
    """

    name: str
    before: tuple[Pixels, Pixels]
    after: tuple[Pixels, Pixels]


def draw_recipe(recipe: Recipe, *, split: str, count: int, seed: int | None = None) -> bytes:
    """Return a PNG of samples spread over a split of a recipe's data, augmented as in training's first epoch.

    Args:
        recipe: The resolved recipe.
        split: Which split; training augments only ``train``, but any can be looked at.
        count: How many samples; fewer where the split has fewer.
        seed: What the augmentation is drawn from; absent is ``train.seed``. The splits stay as they are.

    Raises:
        DataError: If there is no such split, or a sample cannot be read.
        RecipeError: If the augmentation does not fit.
        ValueError: If ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    source, _ = list_source(recipe.data, seed=recipe.train.seed, in_channels=recipe.model.in_channels)
    if split not in source.splits:
        raise DataError(
            f"the data has no split {split!r}; it has {', '.join(source.splits)}.{did_you_mean(split, source.splits)}"
        )
    refuse_empty({split: source.splits[split]}, getattr(recipe.data, "root", recipe.data.format))
    samples = source.splits[split]
    chosen = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int).tolist()
    transform = build_augmentation(recipe.augment, ignore_index=source.ignore_index, image_size=recipe.data.image_size)
    drawn = []
    for index in chosen:
        image, mask = _read(source, samples[index])
        # The seed that segzoo.data.loading.loaders gives it in epoch 0.
        draw_seed = derive_seed(recipe.train.seed if seed is None else seed, "augment", 0, index)
        after = transform(image.copy(), mask.copy(), seed=draw_seed)
        drawn.append(Drawn(samples[index].name, (image, mask), after))
    return draw(drawn, source.classes, source.ignore_index)


def draw(samples: Sequence[Drawn], classes: Sequence[ClassEntry], ignore_index: int) -> bytes:
    """Return a PNG with a row for each sample, above a legend of the classes that occur.

    Args:
        samples: What to draw.
        classes: Names and colours by label.
        ignore_index: The label that is striped.
    """
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(classes)] = [entry.color or (0, 0, 0) for entry in classes]
    rows = [_row(sample, colors, ignore_index) for sample in samples]
    present = np.unique(np.concatenate([np.unique(mask) for row in samples for _, mask in (row.before, row.after)]))
    entries = [
        (printable(classes[label].name), Image.new("RGB", (14, 14), tuple(colors[label].tolist())))
        for label in present.tolist()
        if label < len(classes) and label != ignore_index
    ]
    if ignore_index in present:
        entries.append(("ignored", Image.fromarray(_stripes(14, 14))))
    width = GAP + len(HEADINGS) * (WIDTH + GAP)
    legend = draw_legend(entries, width)
    heights = [max(picture.height for picture in row) + LINE + GAP for row in rows]
    canvas = Image.new("RGB", (width, LINE + sum(heights) + legend.height), "white")
    pen, font = ImageDraw.Draw(canvas), letters(SWATCH)
    for column, heading in enumerate(HEADINGS):
        pen.text((GAP + column * (WIDTH + GAP), 4), heading, fill=INK, font=font)
    top = LINE
    for sample, row, height in zip(samples, rows, heights, strict=True):
        pen.text((GAP, top + 3), printable(sample.name), fill=INK, font=font)
        for column, picture in enumerate(row):
            canvas.paste(picture, (GAP + column * (WIDTH + GAP), top + LINE))
        top += height
    canvas.paste(legend, (0, top))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _read(source: Source, sample: Sample) -> tuple[Pixels, Pixels]:
    image, mask = source.read(sample)
    if image.shape[:2] != mask.shape:
        raise DataError(
            f"{sample.mask}: the mask has {mask.shape[1]}x{mask.shape[0]} pixels, "
            f"its image {image.shape[1]}x{image.shape[0]}"
        )
    return image, mask


def _row(sample: Drawn, colors: Colors, ignore_index: int) -> list[Image.Image]:
    pictures = []
    for image, mask in (sample.before, sample.after):
        size = _fit(image.shape[1], image.shape[0])
        photo = Image.fromarray(visible(image)).resize(size, Image.Resampling.LANCZOS)
        labels = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        ignored = (labels == ignore_index)[..., None]
        paint = np.where(ignored, _stripes(*size), colors[labels])
        pictures += [photo, Image.blend(photo, Image.fromarray(paint), SHARE)]
    return pictures


def _fit(width: int, height: int) -> tuple[int, int]:
    scale = min(WIDTH / width, 2 * WIDTH / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _stripes(width: int, height: int) -> Colors:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.take(STRIPES, (x + y) // 4 % 2, axis=0)
