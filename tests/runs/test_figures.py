"""The pictures of a run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from segzoo.runs import figures
from segzoo.runs.figures import draw_confusion, draw_curves, draw_samples, learning_frame, write_learning_gif

PALETTE = [(0, 0, 0), (200, 30, 30), (30, 200, 30), (30, 30, 200)]
NAMES = ["background", "circle", "square", "star"]
ODD_NAMES = ["_background_", r"a$\frac$", "x" * 60, "马"]


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    """Return a line of metrics.jsonl."""
    scores = {"train_loss": 1 / epoch, "val_loss": 2 / epoch, "mean_iou": 0.5, "pixel_accuracy": 0.7, "mean_dice": 0.6}
    return {"epoch": epoch, "step": 10 * epoch, **scores, "lr": {"encoder": 1e-4, "head": 1e-3}, **changes}


def pixels(path: Path) -> NDArray[np.uint8]:
    """Return a picture as RGB ``(H, W, 3)``."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def colors(picture: NDArray[np.uint8]) -> set[tuple[int, ...]]:
    """Return the colours that occur."""
    return {tuple(color) for color in np.unique(picture.reshape(-1, 3), axis=0).tolist()}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return the charts that are drawn, as matplotlib knows them."""
    kept: list[Figure] = []
    save = figures._save

    def keep(figure: Figure, path: Path) -> None:
        kept.append(figure)
        save(figure, path)

    monkeypatch.setattr(figures, "_save", keep)
    return kept


def lines_of(chart: Figure) -> list[dict[str, list[float]]]:
    """Return each panel's lines: heights by label."""
    return [
        {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in panel.lines} for panel in chart.axes
    ]


def test_curves_show_each_series(tmp_path: Path, drawn: list[Figure]) -> None:
    """Loss, scores and each group's learning rate are drawn over the epochs that have them."""
    rows = [row(1, val_loss=None, mean_iou=None, pixel_accuracy=None), row(2), row(3, mean_iou=None)]
    draw_curves(tmp_path / "curves.png", rows)
    loss, score, rate = lines_of(drawn[0])
    assert loss == {"training": [1, 1 / 2, 1 / 3], "validation": [1, 2 / 3]}
    assert score == {"mIoU": [0.5], "pixel accuracy": [0.7, 0.7]}
    assert rate == {"encoder": [1e-4] * 3, "head": [1e-3] * 3}
    assert pixels(tmp_path / "curves.png").shape[1] > 1000


def test_curves_name_lines_that_lie_on_each_other(tmp_path: Path, drawn: list[Figure]) -> None:
    """Groups of equal learning rate share one line that names them all: none hides another."""
    rows = [row(epoch, lr={"encoder": 1e-4, "decoder": 1e-3, "head": 1e-3}) for epoch in (1, 2)]
    draw_curves(tmp_path / "curves.png", rows)
    assert list(lines_of(drawn[0])[2]) == ["encoder", "decoder, head"]


@pytest.mark.parametrize("rows", [[], [row(1)], [row(1, val_loss=None, mean_iou=None, pixel_accuracy=None)]])
def test_curves_of_short_runs(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """No epoch, one epoch, and one without validation can be drawn without a warning."""
    draw_curves(tmp_path / "curves.png", rows)
    assert pixels(tmp_path / "curves.png").size


def test_confusion_shares_out_each_row(tmp_path: Path, drawn: list[Figure]) -> None:
    """Cells are percents of the row; a row without pixels says absent and has no number, unlike a row of misses."""
    matrix = np.array([[75, 25, 0], [0, 0, 0], [10, 0, 0]], np.int64)
    draw_confusion(tmp_path / "confusion.png", matrix, NAMES[:3])
    texts = [text.get_text() for text in drawn[0].axes[0].texts]
    assert sorted(texts) == sorted(["75", "25", "absent", "100", "0"])
    assert pixels(tmp_path / "confusion.png").size


@pytest.mark.parametrize("count", [2, 21, 60])
def test_confusion_grows_with_the_classes(count: int, tmp_path: Path) -> None:
    """Rows stay at least 14 pixels high, so that names can be read."""
    draw_confusion(tmp_path / "confusion.png", np.eye(count, dtype=np.int64), [f"class {k}" for k in range(count)])
    assert pixels(tmp_path / "confusion.png").shape[0] > 14 * count


def test_any_class_name_can_be_drawn(tmp_path: Path) -> None:
    """Formula signs, leading underscores, long names and foreign scripts break neither chart nor legend."""
    draw_confusion(tmp_path / "confusion.png", np.eye(4, dtype=np.int64), ODD_NAMES)
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4) % 4
    draw_samples(tmp_path / "samples.png", [np.zeros((4, 4, 3), np.uint8)], [mask], [mask], PALETTE, ODD_NAMES, 255)
    assert pixels(tmp_path / "samples.png").size


def test_samples_keep_the_palette(tmp_path: Path) -> None:
    """Target and prediction stand beside the image in exactly their classes' colours."""
    image = np.full((10, 20, 3), (90, 120, 150), np.uint8)
    target, prediction = np.full((10, 20), 1, np.uint8), np.full((10, 20), 3, np.uint8)
    draw_samples(tmp_path / "samples.png", [image], [target], [prediction], PALETTE, NAMES, 255)
    middle = pixels(tmp_path / "samples.png")[figures.LINE + 75]
    width, step = figures.SAMPLE_WIDTH, figures.SAMPLE_WIDTH + figures.GAP
    for column, color in enumerate([(90, 120, 150), PALETTE[1], PALETTE[3]]):
        left = figures.GAP + column * step
        assert (middle[left : left + width] == color).all()


@pytest.mark.parametrize(("channels", "shown"), [(1, (90, 90, 90)), (4, (90, 120, 150)), (5, (90, 120, 150))])
def test_samples_of_other_channels(tmp_path: Path, channels: int, shown: tuple[int, int, int]) -> None:
    """One channel is shown as grey, of more than three the first three."""
    image = np.broadcast_to(np.array([90, 120, 150, 7, 8], np.uint8)[:channels], (10, 20, channels))
    mask = np.zeros((10, 20), np.uint8)
    draw_samples(tmp_path / "samples.png", [image], [mask], [mask], PALETTE, NAMES, 255)
    middle = pixels(tmp_path / "samples.png")[figures.LINE + 75]
    assert (middle[figures.GAP : figures.GAP + figures.SAMPLE_WIDTH] == shown).all()


def test_samples_mark_ignored_pixels(tmp_path: Path) -> None:
    """Ignored pixels are striped in two shades that no class has, even where ignore_index is also a class."""
    image = np.zeros((20, 20, 3), np.uint8)
    target, prediction = np.full((20, 20), 2, np.uint8), np.full((20, 20), 1, np.uint8)
    draw_samples(tmp_path / "samples.png", [image], [target], [prediction], PALETTE, NAMES, 2)
    picture = pixels(tmp_path / "samples.png")
    left = figures.GAP * 2 + figures.SAMPLE_WIDTH
    panel = picture[figures.LINE : figures.LINE + 300, left : left + 300]
    assert colors(panel) == colors(figures.STRIPES)
    assert PALETTE[2] not in colors(picture)


def test_scaling_mixes_no_labels(tmp_path: Path) -> None:
    """Between pixels of the classes 1 and 3 no colour of class 2 appears, nor any other."""
    image = np.zeros((7, 7, 3), np.uint8)
    mask = np.where(np.arange(49).reshape(7, 7) % 2, 1, 3).astype(np.uint8)
    draw_samples(tmp_path / "samples.png", [image], [mask], [mask], PALETTE, NAMES, 255)
    left = figures.GAP * 2 + figures.SAMPLE_WIDTH
    panel = pixels(tmp_path / "samples.png")[figures.LINE : figures.LINE + 300, left : left + 300]
    assert colors(panel) == {PALETTE[1], PALETTE[3]}


def test_the_legend_names_what_occurs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The legend has the classes of targets and predictions, and ignored pixels, but no class that is not shown."""
    legend: list[str] = []
    draw = figures.draw_legend

    def keep(entries: Sequence[tuple[str, Image.Image]], width: int) -> Image.Image:
        legend.extend(name for name, _ in entries)
        return draw(entries, width)

    monkeypatch.setattr(figures, "draw_legend", keep)
    image = np.zeros((8, 8, 3), np.uint8)
    target, prediction = np.full((8, 8), 255, np.uint8), np.full((8, 8), 3, np.uint8)
    target[0] = 1
    draw_samples(tmp_path / "samples.png", [image], [target], [prediction], PALETTE, NAMES, 255)
    assert legend == ["circle", "star", "ignored"]


@pytest.mark.parametrize("size", [(1, 1), (3, 5000), (5000, 3)])
def test_samples_of_extreme_shapes(size: tuple[int, int], tmp_path: Path) -> None:
    """A picture of any shape fits its column and stays as high as others."""
    mask = np.zeros(size, np.uint8)
    draw_samples(tmp_path / "samples.png", [np.zeros((*size, 3), np.uint8)], [mask], [mask], PALETTE, NAMES, 255)
    assert pixels(tmp_path / "samples.png").shape[0] < 2 * figures.SAMPLE_WIDTH


def test_samples_come_in_threes(tmp_path: Path) -> None:
    """An image without its masks is refused, and nothing is written."""
    with pytest.raises(ValueError, match="zip"):
        draw_samples(tmp_path / "samples.png", [np.zeros((4, 4, 3), np.uint8)], [], [], PALETTE, NAMES, 255)
    assert not list(tmp_path.iterdir())


def test_a_frame_shows_predictions_in_a_grid() -> None:
    """Predictions stand in rows of ``columns``, scaled to one width, in their classes' colours."""
    masks = [np.full((10, 10), label, np.uint8) for label in (1, 2, 3)]
    with Image.open(io.BytesIO(learning_frame(masks, PALETTE, columns=2, width=224))) as frame:
        assert frame.size == (224, 224)
        picture = np.asarray(frame.convert("RGB"))
    for (y, x), label in {(50, 50): 1, (50, 170): 2, (170, 50): 3}.items():
        assert tuple(picture[y, x]) == PALETTE[label]
    assert tuple(picture[170, 170]) == figures.INK


@pytest.mark.parametrize(("columns", "width"), [(0, 100), (4, 40)])
def test_a_frame_needs_room(columns: int, width: int) -> None:
    """A grid without a column, or with columns of no width, is refused with its numbers."""
    with pytest.raises(ValueError, match=f"each of {columns} columns, got {width}"):
        learning_frame([np.zeros((4, 4), np.uint8)], PALETTE, columns=columns, width=width)


def write_frames(folder: Path, epochs: list[int], palette: list[tuple[int, int, int]]) -> list[Path]:
    """Write frames in which the picture's class is the epoch."""
    paths = [folder / f"{epoch:04d}.png" for epoch in epochs]
    for path, epoch in zip(paths, epochs, strict=True):
        mask = np.full((10, 10), epoch % len(palette), np.uint8)
        path.write_bytes(learning_frame([mask], palette, columns=1, width=116))
    return paths


def test_the_animation_shows_each_epoch(tmp_path: Path) -> None:
    """It has one frame per epoch in exact colours, each with another caption, repeats, and rests on the last."""
    write_learning_gif(tmp_path / "learning.gif", write_frames(tmp_path, [1, 2, 3, 7], PALETTE))
    captions = set()
    with Image.open(tmp_path / "learning.gif") as animation:
        assert len(list(ImageSequence.Iterator(animation))) == 4
        assert animation.info["loop"] == 0
        for index, epoch in enumerate([1, 2, 3, 7]):
            animation.seek(index)
            picture = np.asarray(animation.convert("RGB"))
            assert tuple(picture[50, 50]) == PALETTE[epoch % 4]
            assert (255, 255, 255) in colors(picture[116:])
            captions.add(picture[116:].tobytes())
            assert animation.info["duration"] == (2500 if epoch == 7 else 500)
    assert len(captions) == 4


def test_the_animation_survives_a_full_palette(tmp_path: Path) -> None:
    """With 255 classes every colour is still exact."""
    palette = [(k, 255 - k, k // 2) for k in range(255)]
    write_learning_gif(tmp_path / "learning.gif", write_frames(tmp_path, [1, 128, 254], palette))
    with Image.open(tmp_path / "learning.gif") as animation:
        for index, label in enumerate([1, 128, 254]):
            animation.seek(index)
            assert tuple(np.asarray(animation.convert("RGB"))[50, 50]) == palette[label]


def test_one_epoch_is_an_animation_too(tmp_path: Path) -> None:
    """The first epoch alone gives a file that opens."""
    write_learning_gif(tmp_path / "learning.gif", write_frames(tmp_path, [1], PALETTE))
    assert pixels(tmp_path / "learning.gif").size


def test_the_animation_refuses_what_it_cannot_number(tmp_path: Path) -> None:
    """No frames, and a frame whose name has no epoch, are told by name."""
    with pytest.raises(ValueError, match="at least one frame, got none"):
        write_learning_gif(tmp_path / "learning.gif", [])
    frame = write_frames(tmp_path, [1], PALETTE)[0].rename(tmp_path / "last.png")
    with pytest.raises(ValueError, match=r"its epoch, got 'last\.png'"):
        write_learning_gif(tmp_path / "learning.gif", [frame])
