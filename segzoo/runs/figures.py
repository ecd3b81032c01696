"""The pictures of a run: curves, confusion matrix, samples, and the animation of how it learned.

Charts are drawn by matplotlib without its global state; masks are drawn by PIL, pixel for pixel.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from segzoo.data.files.images import visible
from segzoo.data.legend import GAP, INK, LINE, draw_legend, letters
from segzoo.files import write_atomic

Mask = NDArray[np.uint8]
Size = tuple[int, int]
Points = list[tuple[int, float]]

MAX_NUMBERED_CLASSES = 40
"""Above this, the cells of a confusion matrix are too small for numbers."""
MAX_NAME_LENGTH = 24

SAMPLE_WIDTH = 300
STRIPES = np.array([(255, 255, 255), (150, 150, 150)], np.uint8)
"""Diagonal stripes mark ignored pixels: no class colour can be mistaken for them."""

# Masks hold at most 255 classes, so that 255 is free in a frame's palette; 254 is the last class where all are used.
FRAME_BACKGROUND, FRAME_INK = 255, 254


def draw_curves(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw loss, scores and learning rate by epoch.

    Args:
        path: The PNG file to write.
        rows: Lines of ``metrics.jsonl``; a null is a gap that the line bridges.
    """
    figure = Figure(figsize=(12, 3.7), layout="constrained")
    loss, score, rate = figure.subplots(1, 3)
    _plot(loss, "loss", {"training": _series(rows, "train_loss"), "validation": _series(rows, "val_loss")})
    _plot(
        score,
        "scores on validation",
        {"mIoU": _series(rows, "mean_iou"), "pixel accuracy": _series(rows, "pixel_accuracy")},
    )
    score.set_ylim(0, 1)
    rates = [{"epoch": row["epoch"], **row["lr"]} for row in rows]
    groups = dict.fromkeys(name for row in rows for name in row["lr"])
    _plot(rate, "learning rate", _join_equal({name: _series(rates, name) for name in groups}))
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", scilimits=(-2, 2))
    _save(figure, path)


def draw_confusion(path: Path, matrix: NDArray[np.int64], names: Sequence[str]) -> None:
    """Draw a confusion matrix, each row shared out in percent; a class absent from the target has no shares.

    Args:
        path: The PNG file to write.
        matrix: Pixel counts ``(C, C)``: rows are the target's classes, columns the predicted ones.
        names: The ``C`` class names.
    """
    count = len(names)
    cell = max(0.38, min(0.9, 6 / count)) if count <= MAX_NUMBERED_CLASSES else 0.13  # inches
    figure = Figure(figsize=(count * cell + 3.2, count * cell + 2.2), layout="constrained")
    axes = figure.subplots()
    total = matrix.sum(axis=1, keepdims=True)
    shares = np.ma.masked_where(np.broadcast_to(total == 0, matrix.shape), 100 * matrix / np.maximum(total, 1))
    colors = matplotlib.colormaps["Blues"].with_extremes(bad="#ececec")
    image = axes.imshow(shares, cmap=colors, vmin=0, vmax=100)
    figure.colorbar(image, shrink=0.6, label="% of the target's pixels")
    labels = [_shorten(name) for name in names]
    size = min(9, 60 * cell)
    axes.set_xticks(range(count), labels, fontsize=size, rotation=90, parse_math=False)
    axes.set_yticks(range(count), labels, fontsize=size, parse_math=False)
    axes.set(xlabel="prediction", ylabel="target")
    for row in np.flatnonzero(total == 0).tolist():
        axes.text((count - 1) / 2, row, "absent", ha="center", va="center", fontsize=size, color="#666666")
    if count <= MAX_NUMBERED_CLASSES:
        _number_cells(axes, shares, fontsize=min(9, 20 * cell))
    _save(figure, path)


def draw_samples(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    targets: Sequence[Mask],
    predictions: Sequence[Mask],
    palette: ArrayLike,
    names: Sequence[str],
    ignore_index: int,
) -> None:
    """Draw image, target and prediction in three columns, above a legend of the classes that occur.

    Args:
        path: The PNG file to write.
        images: Images ``(H, W, channels)`` in 0 to 255; each may have its own size.
        targets: Class indices ``(H, W)``; ``ignore_index`` is drawn as stripes.
        predictions: Class indices ``(H, W)``.
        palette: RGB colours ``(C, 3)`` in 0 to 255.
        names: The ``C`` class names.
        ignore_index: Label that is not scored.
    """
    table = _table(palette)
    rows = []
    for image, target, prediction in zip(images, targets, predictions, strict=True):
        photo = Image.fromarray(visible(image))
        thumbnail = photo.resize(_fit(photo.size, (SAMPLE_WIDTH, SAMPLE_WIDTH)), Image.Resampling.LANCZOS)
        masks = (_paint(mask, table, ignore_index, thumbnail.size) for mask in (target, prediction))
        rows.append([thumbnail, *masks])
    width = 3 * SAMPLE_WIDTH + 4 * GAP
    present = np.unique(np.concatenate([np.unique(mask) for mask in (*targets, *predictions)]))
    entries = [(_shorten(names[k]), _swatch(table[k])) for k in present if k < len(names) and k != ignore_index]
    if ignore_index in present:
        entries.append(("ignored", Image.fromarray(_stripes((14, 14)))))
    legend = draw_legend(entries, width)
    height = LINE + sum(row[0].height + GAP for row in rows)
    canvas = Image.new("RGB", (width, height + legend.height), "white")
    _paste_rows(canvas, rows)
    canvas.paste(legend, (0, height))
    write_atomic(path, _encode(canvas))


def learning_frame(predictions: Sequence[Mask], palette: ArrayLike, *, columns: int, width: int) -> bytes:
    """Return one frame of the animation: predictions side by side, as an indexed PNG.

    Args:
        predictions: Class indices ``(H, W)``; each may have its own size.
        palette: RGB colours ``(C, 3)`` in 0 to 255.
        columns: Predictions in a row.
        width: Width of the frame in pixels.

    Raises:
        ValueError: If the frame is too narrow for its columns.
    """
    if columns < 1 or width < columns * (GAP + 1) + GAP:
        raise ValueError(f"width must leave a pixel for each of {columns} columns, got {width}")
    box_width = (width - GAP) // columns - GAP
    sizes = [_fit(mask.shape[::-1], (box_width, box_width)) for mask in predictions]
    box_height = max(height for _, height in sizes)
    lines = -(-len(predictions) // columns)
    canvas = Image.new("L", (width, GAP + lines * (box_height + GAP)), FRAME_BACKGROUND)
    for index, (mask, size) in enumerate(zip(predictions, sizes, strict=True)):
        line, column = divmod(index, columns)
        corner = (GAP + column * (box_width + GAP), GAP + line * (box_height + GAP))
        canvas.paste(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST), corner)
    canvas.putpalette(_table(palette).tobytes())
    return _encode(canvas)


def write_learning_gif(path: Path, frames: Sequence[Path]) -> None:
    """Join frames into an endless animation that rests on its last frame.

    Args:
        path: The GIF file to write.
        frames: Files of :func:`learning_frame`, by epoch; a name ends in its epoch, as ``epoch_0007.png`` does.

    Raises:
        ValueError: If there is no frame, or a name does not end in a number.
    """
    if not frames:
        raise ValueError("an animation needs at least one frame, got none")
    pictures = [_with_epoch(frame) for frame in frames]
    # A long run is shown faster: ten seconds are enough to see it learn.
    pace = min(500, max(50, 10_000 // len(frames)))
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[*[pace] * (len(frames) - 1), 2500],
        loop=0,
    )
    write_atomic(path, buffer.getvalue())


def _series(rows: Iterable[Mapping[str, Any]], key: str) -> Points:
    return [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]


def _join_equal(lines: Mapping[str, Points]) -> dict[str, Points]:
    """Give lines that lie on each other one line with all their names."""
    names: dict[tuple[tuple[int, float], ...], list[str]] = {}
    for name, points in lines.items():
        names.setdefault(tuple(points), []).append(name)
    return {", ".join(group): list(points) for points, group in names.items()}


def _plot(axes: Axes, title: str, lines: Mapping[str, Points]) -> None:
    """Plot the lines that have points; a marker shows a line of one point."""
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, max((epoch for points in lines.values() for epoch, _ in points), default=1) + 0.5)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    for name, points in lines.items():
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    if axes.has_data():
        axes.legend(fontsize=8, ncols=1 + len(lines) // 8)


def _number_cells(axes: Axes, shares: np.ma.MaskedArray[Any, Any], *, fontsize: float) -> None:
    """Write whole percents into the cells: all that round to at least one, and the diagonal."""
    for row, column in np.argwhere(~np.ma.getmaskarray(shares)):
        share = shares[row, column]
        if share >= 0.5 or row == column:
            color = "white" if share > 55 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=fontsize, color=color)


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A class name in a script that the font lacks is drawn as boxes; nobody needs to be warned of that.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=144)
    write_atomic(path, buffer.getvalue())


def _encode(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"


def _table(palette: ArrayLike) -> NDArray[np.uint8]:
    """Return the colours of all 256 values of a mask, those of a frame's background and caption among them."""
    colors = np.asarray(palette, np.uint8)
    table = np.zeros((256, 3), np.uint8)
    table[FRAME_BACKGROUND] = INK
    table[FRAME_INK] = 255
    table[: len(colors)] = colors
    return table


def _fit(size: tuple[int, ...], box: Size) -> Size:
    """Return the largest (width, height) of the same shape inside a box, at least one pixel each."""
    scale = min(box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _paint(mask: Mask, table: NDArray[np.uint8], ignore_index: int, size: Size) -> Image.Image:
    """Colour a mask, resized without mixing its labels; ignored pixels are striped."""
    labels = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    ignored = (labels == ignore_index)[..., None]
    return Image.fromarray(np.where(ignored, _stripes(size), table[labels]))


def _stripes(size: Size) -> NDArray[np.uint8]:
    """Return diagonal stripes ``(height, width, 3)``."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return np.take(STRIPES, (x + y) // 4 % 2, axis=0)


def _swatch(color: NDArray[np.uint8]) -> Image.Image:
    return Image.new("RGB", (14, 14), tuple(color.tolist()))


def _paste_rows(canvas: Image.Image, rows: Sequence[Sequence[Image.Image]]) -> None:
    draw = ImageDraw.Draw(canvas)
    for column, heading in enumerate(("image", "target", "prediction")):
        draw.text((GAP + column * (SAMPLE_WIDTH + GAP), 5), heading, fill=INK, font=letters(13))
    top = LINE
    for row in rows:
        for column, picture in enumerate(row):
            canvas.paste(picture, (GAP + column * (SAMPLE_WIDTH + GAP), top))
        top += row[0].height + GAP


def _with_epoch(frame: Path) -> Image.Image:
    """Return a frame with its epoch written below."""
    number = re.search(r"\d+$", frame.stem)
    if number is None:
        raise ValueError(f"a frame's name must end in its epoch, got {frame.name!r}")
    with Image.open(frame) as picture:
        size = max(14, picture.width // 36)
        canvas = Image.new("P", (picture.width, picture.height + size + GAP), FRAME_BACKGROUND)
        canvas.putpalette(picture.getpalette() or [])
        canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    # Smoothed letters would need colours that the palette does not have.
    draw.fontmode = "1"
    draw.text((GAP, picture.height - 2), f"epoch {int(number[0])}", fill=FRAME_INK, font=letters(size))
    return canvas
