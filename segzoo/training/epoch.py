"""What an epoch leaves behind: its line, its frame of the animation, and the weights if they are the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from segzoo.files import write_atomic
from segzoo.metrics import Passport, class_counts, iou, mean_dice, mean_iou, pixel_accuracy
from segzoo.runs.figures import learning_frame
from segzoo.runs.model_folder import write_model
from segzoo.scoring.evaluation import Evaluation
from segzoo.scoring.scores import finite
from segzoo.training.parts import Parts, eval_image_size

PREVIEWS = 21
"""Validation images whose predictions the animation shows."""

COLUMNS = 7
WIDTH = 840


def epoch_row(
    score: Evaluation | None,
    *,
    names: Sequence[str],
    epoch: int,
    step: int,
    train_loss: float,
    lr: Mapping[str, float],
    images: int,
    seconds: float,
    waited: float,
) -> dict[str, Any]:
    """Return an epoch's line of ``metrics.jsonl``; what is not known or not finite is None.

    Args:
        score: The validation; None on epochs without one.
        names: The classes' names by label.
        epoch: The epoch, from 1.
        step: Optimizer steps so far.
        train_loss: Mean loss of the epoch's steps.
        lr: The last learning rate of each part.
        images: Images that the epoch trained on.
        seconds: Seconds that it trained.
        waited: Seconds of those in which it waited for data.
    """
    scores: dict[str, Any] = dict.fromkeys(("val_loss", "mean_iou", "pixel_accuracy", "mean_dice"))
    per_class: dict[str, float | None] = {}
    if score is not None:
        counts = class_counts(score.matrix)
        scores = {
            "val_loss": score.loss,
            "mean_iou": finite(float(mean_iou(counts))),
            "pixel_accuracy": finite(float(pixel_accuracy(counts))),
            "mean_dice": finite(float(mean_dice(counts))),
        }
        per_class = dict(zip(names, map(finite, iou(counts).tolist()), strict=True))
    images_per_second, data_wait = pace(images, seconds, waited)
    return {
        "epoch": epoch,
        "step": step,
        "train_loss": train_loss,
        **scores,
        "per_class_iou": per_class,
        "lr": dict(lr),
        "images_per_second": round(images_per_second, 2),
        "data_wait": round(data_wait, 4),
        "seconds": round(seconds, 3),
    }


def pace(images: int, seconds: float, waited: float) -> tuple[float, float]:
    """Return images per second, and the share of the seconds that was spent on waiting for data."""
    if seconds <= 0:
        return 0.0, 0.0
    return images / seconds, min(waited / seconds, 1.0)


def write_frame(
    folder: Path, epoch: int, predictions: Sequence[Tensor], palette: Sequence[tuple[int, int, int]]
) -> None:
    """Keep the predictions of an epoch as a picture, from which a resumed run can rebuild the animation."""
    folder.mkdir(exist_ok=True)
    labels = [prediction.numpy() for prediction in predictions]
    frame = learning_frame(labels, palette, columns=min(COLUMNS, len(labels)), width=WIDTH)
    write_atomic(folder / f"{epoch:04d}.png", frame)


def write_best(
    parts: Parts, folder: Path, row: Mapping[str, Any], score: Evaluation, environment: Mapping[str, Any]
) -> None:
    """Write the weights of an epoch with its scores and what they were taken on and how."""
    kept = ("epoch", "step", "mean_iou", "pixel_accuracy", "mean_dice", "per_class_iou")
    write_model(
        folder,
        parts.scored,
        recipe=parts.recipe,
        spec=parts.built.spec,
        classes=parts.data.source.classes,
        metrics={
            **{key: row[key] for key in kept},
            "absent_classes": [name for name, value in row["per_class_iou"].items() if value is None],
            "passport": passport_of(parts, score.images).model_dump(mode="json"),
        },
        provenance={
            "data_fingerprint": parts.data.report.fingerprint,
            "pretrained": parts.built.pretrained,
            **environment,
        },
    )


def passport_of(parts: Parts, images: int) -> Passport:
    """Return what a run's scores are taken on, and how."""
    return Passport(
        split=parts.recipe.eval.split,
        images=images,
        ignore_index=parts.data.source.ignore_index,
        image_size=eval_image_size(parts.recipe),
        window=parts.recipe.eval.window,
    )
