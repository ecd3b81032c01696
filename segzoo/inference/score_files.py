"""What a model reaches on a split, and the files that tell of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from segzoo.data.source import Pixels, Source
from segzoo.errors import SegzooError
from segzoo.files import write_atomic
from segzoo.inference.method import Augmentation
from segzoo.metrics import Passport, class_counts, iou, mean_dice, mean_iou, pixel_accuracy
from segzoo.recipe import Recipe
from segzoo.runs.figures import draw_confusion, draw_samples
from segzoo.scoring.evaluation import Details, Evaluation
from segzoo.scoring.scores import describe_scores, finite
from segzoo.training.parts import eval_image_size

WORST = 8
"""How many images with the lowest scores are listed and drawn."""


@dataclass(frozen=True)
class Scores:
    """What a model reaches on a split.

    Args:
        model: The model's full id; of an exported file, its format and precision too.
        split: The split.
        images: How many images it has.
        loss: The run's loss; None on data that the run was not validated on, and where it is not finite.
        metrics: As ``model.json`` holds them: the scores of the split, intervals, ``per_class``.
        passport: What they are taken on, and how.
        worst: Name and mean IoU of the images with the lowest scores, the lowest first.
        matrix: int64 ``(C, C)``, rows are the target.
    """

    model: str
    split: str
    images: int
    loss: float | None
    metrics: dict[str, Any]
    passport: Passport
    worst: tuple[tuple[str, float], ...]
    matrix: Tensor

    @property
    def row(self) -> dict[str, Any]:
        """The scores as one row of JSON."""
        return {
            "model": self.model,
            "split": self.split,
            "images": self.images,
            "loss": self.loss,
            **self.metrics,
            "passport": self.passport.model_dump(mode="json"),
            "worst": [{"name": name, "mean_iou": score} for name, score in self.worst],
        }


class UnwrittenError(SegzooError):
    """Files of scores could not be written.

    Args:
        scores: What they were to hold.
        error: What the system said.
    """

    def __init__(self, scores: Scores, error: OSError) -> None:
        super().__init__(f"the model was scored, but not every file of its scores could be written: {error}")
        self.scores = scores


def summarise_scores(
    model: str, recipe: Recipe, source: Source, found: Evaluation, augmentations: Sequence[Augmentation]
) -> Scores:
    """Return the scores of an evaluation.

    Args:
        model: As the scores have it.
        recipe: What was scored, and how.
        source: The data.
        found: The split, scored image by image.
        augmentations: What predictions were averaged over.

    Raises:
        ValueError: If it was not scored image by image.
    """
    if found.details is None:
        raise ValueError("the split was not scored image by image")
    names = [entry.name for entry in source.classes]
    counts = class_counts(found.matrix)
    per_class = dict(zip(names, map(finite, iou(counts).tolist()), strict=True))
    passport = Passport(
        split=recipe.eval.split,
        images=found.images,
        ignore_index=source.ignore_index,
        image_size=eval_image_size(recipe),
        window=recipe.eval.window,
        augmentations=tuple(augmentations),
    )
    metrics = {
        "mean_iou": finite(float(mean_iou(counts))),
        "pixel_accuracy": finite(float(pixel_accuracy(counts))),
        "mean_dice": finite(float(mean_dice(counts))),
        "per_class_iou": per_class,
        "absent_classes": [name for name, value in per_class.items() if value is None],
        **describe_scores(found.details, names),
    }
    return Scores(
        model=model,
        split=recipe.eval.split,
        images=found.images,
        loss=found.loss,
        metrics=metrics,
        passport=passport,
        worst=_worst([sample.name for sample in source.splits[recipe.eval.split]], found.details),
        matrix=found.matrix,
    )


def _worst(names: Sequence[str], details: Details) -> tuple[tuple[str, float], ...]:
    """Return the images with the lowest mean IoU; those that are ignored as a whole have none."""
    scored = [(name, float(score)) for name, score in zip(names, mean_iou(details.counts), strict=True)]
    return tuple(sorted((pair for pair in scored if math.isfinite(pair[1])), key=lambda pair: pair[1])[:WORST])


def write_scores(
    out: Path, stem: str, scores: Scores, source: Source, label: Callable[[Pixels, Pixels], Pixels]
) -> None:
    """Write scores and pictures under a name; ``label`` labels an image in the size of its mask."""
    write_atomic(out / f"{stem}.json", json.dumps(scores.row, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    names = [entry.name for entry in source.classes]
    draw_confusion(out / f"{stem}_confusion.png", scores.matrix.numpy(), names)
    wanted = [name for name, _ in scores.worst]
    samples = {sample.name: sample for sample in source.splits[scores.split]}
    pairs = [source.read(samples[name]) for name in wanted]
    if pairs:
        draw_samples(
            out / f"{stem}_worst.png",
            [image for image, _ in pairs],
            [mask for _, mask in pairs],
            [label(image, mask) for image, mask in pairs],
            [entry.color or (0, 0, 0) for entry in source.classes],
            names,
            source.ignore_index,
        )
