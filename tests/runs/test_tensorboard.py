"""What TensorBoard shows is what ``metrics.jsonl`` says."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segzoo.recipe import load_recipe
from segzoo.runs.tensorboard import add_pictures, open_events
from segzoo.training.finetune import finetune

SMALL = (
    "data.size=[32,32]",
    "data.image_size=[32,32]",
    'data.counts={"train":4,"val":2}',
    "train.batch_size=2",
    "train.threads=1",
)


def row(epoch: int, mean_iou: float | None) -> dict[str, Any]:
    """Return a line of metrics.jsonl; without mIoU it is one of an epoch that was not validated."""
    scored = mean_iou is not None
    return {
        "epoch": epoch,
        "step": 10 * epoch,
        "train_loss": 0.5,
        "val_loss": 0.25 if scored else None,
        "mean_iou": mean_iou,
        "pixel_accuracy": 0.75 if scored else None,
        "mean_dice": 0.625 if scored else None,
        "per_class_iou": {"traffic light": 0.125, "sky": None} if scored else {},
        "lr": {"encoder": 0.25, "head": 0.5},
        "images_per_second": 8.0,
        "data_wait": 0.0625,
        "seconds": 2.0,
    }


def read(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, np.ndarray]]:
    """Return (step, value) of every scalar by its tag, and the pictures by theirs."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the tensorboard extra is not installed"
    )
    events = reader.EventAccumulator(str(folder)).Reload()
    scalars = {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    pictures = {tag: events.Images(tag)[-1].encoded_image_string for tag in events.Tags()["images"]}
    return scalars, {tag: np.asarray(Image.open(io.BytesIO(content))) for tag, content in pictures.items()}


def test_every_number_that_is_known_is_a_scalar(tmp_path: Path) -> None:
    """Losses, scores, classes, learning rates and speed stand at the epoch's step; None is left out."""
    with open_events(tmp_path / "tensorboard", [row(1, None)]) as events:
        events.epoch(row(2, 0.375))

    scalars, pictures = read(tmp_path / "tensorboard")

    assert not pictures
    assert scalars == {
        "train/loss": [(10, 0.5), (20, 0.5)],
        "val/loss": [(20, 0.25)],
        "val/mean_iou": [(20, 0.375)],
        "val/pixel_accuracy": [(20, 0.75)],
        "val/mean_dice": [(20, 0.625)],
        "iou/traffic light": [(20, 0.125)],
        "lr/encoder": [(10, 0.25), (20, 0.25)],
        "lr/head": [(10, 0.5), (20, 0.5)],
        "speed/images_per_second": [(10, 8.0), (20, 8.0)],
        "speed/data_wait": [(10, 0.0625), (20, 0.0625)],
    }


def test_an_epoch_can_be_seen_while_the_run_goes_on(tmp_path: Path) -> None:
    """What was added is on disk before anything is closed."""
    with open_events(tmp_path, []) as events:
        events.epoch(row(1, 0.375))
        assert read(tmp_path)[0]["val/mean_iou"] == [(10, 0.375)]


def test_events_that_the_run_does_not_know_are_gone(tmp_path: Path) -> None:
    """Opened again with fewer lines, epochs past them are dropped; other files in the folder stay."""
    with open_events(tmp_path, [row(1, 0.25), row(2, 0.5), row(3, 0.75)]):
        (tmp_path / "notes.txt").write_text("mine")
    with open_events(tmp_path, [row(1, 0.25)]) as events:
        events.epoch(row(2, 0.625))

    assert read(tmp_path)[0]["val/mean_iou"] == [(10, 0.25), (20, 0.625)]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_pictures_join_the_scalars(tmp_path: Path) -> None:
    """A picture appears under its name with the pixels of its file, beside what was there."""
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_events(tmp_path / "tensorboard", [row(1, 0.25)]):
        pass

    add_pictures(tmp_path / "tensorboard", {"samples": tmp_path / "a.png"}, step=10)

    scalars, pictures = read(tmp_path / "tensorboard")
    assert scalars["val/mean_iou"] == [(10, 0.25)]
    assert {tag: picture.tolist() for tag, picture in pictures.items()} == {"samples": pixels.tolist()}


def test_without_tensorboard_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No folder, no message, no error."""
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with open_events(tmp_path / "tensorboard", [row(1, 0.25)]) as events:
        events.epoch(row(2, 0.5))
    add_pictures(tmp_path / "tensorboard", {"samples": tmp_path / "missing.png"}, step=10)

    assert not (tmp_path / "tensorboard").exists()
    assert not caplog.records


def test_events_of_a_run_agree_with_its_lines(tmp_path: Path) -> None:
    """After a run that was prolonged every epoch is there once, and the pictures with it."""
    for epochs in (1, 2):
        recipe = load_recipe("quickstart", (*SMALL, f"train.epochs={epochs}"))
        run = finetune(recipe, out=tmp_path / "run", device="cpu", resume=True)

    scalars, pictures = read(tmp_path / "run/tensorboard")

    assert scalars["train/loss"] == [(line["step"], pytest.approx(line["train_loss"])) for line in run.metrics]
    assert len(run.metrics) == 2
    assert set(pictures) == {"samples", "confusion"}

    finetune(load_recipe("quickstart", (*SMALL, "train.epochs=1")), out=run.folder, device="cpu", overwrite=True)
    assert [step for step, _ in read(run.folder / "tensorboard")[0]["train/loss"]] == [2]
