"""The end of a run in which something was frozen: the result of the audit, and two evaluation passes compared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from segzoo.data.loading.loaders import EvalBatch, eval_loader
from segzoo.errors import TrainingError
from segzoo.runs.records import AuditRecord, PassesRecord
from segzoo.scoring.evaluation import Stopped
from segzoo.training.epoch import PREVIEWS
from segzoo.training.loop import Trainer
from segzoo.training.parts import eval_batch_size, eval_image_size

logger = logging.getLogger(__name__)


def audit_run(trainer: Trainer) -> AuditRecord | None:
    """Return what was frozen in a run that has ended, or None where nothing was.

    Raises:
        TrainingError: If two evaluation passes over the same images differ on the CPU, where nothing else explains it.
        Stopped: If a signal came.
    """
    frozen = trainer.freezer.summary(trainer.state.epochs_done)
    if frozen is None:
        return None
    parts, recipe = trainer.parts, trainer.parts.recipe
    batches = eval_loader(
        parts.data.source,
        recipe.eval.split,
        image_size=eval_image_size(recipe),
        batch_size=eval_batch_size(recipe),
        workers=0,
        pin_memory=parts.device.type == "cuda",
        limit=PREVIEWS,
    )
    passes = compare_passes(parts.scorer, batches, should_stop=lambda: bool(trainer.stop))
    if not passes.equal:
        told = (
            f"two evaluation passes over the same {passes.images} images differ by up to "
            f"{passes.largest_difference:.2g} in their logits"
        )
        if parts.device.type == "cpu":
            raise TrainingError(
                f"{told}: something random, or something that remembers, is active in evaluation mode. The best "
                f"weights are kept in {trainer.run.model}; look for dropout that does not ask for self.training"
            )
        logger.warning("%s; kernels that are not deterministic are one cause: see train.deterministic", told)
    record = AuditRecord(**frozen._asdict(), unchanged=True, passes=passes)
    for name, value in record.facts:
        logger.info("%s: %s", name, value)
    return record


def compare_passes(
    predict: Callable[[Tensor], Tensor], batches: Iterable[EvalBatch], *, should_stop: Callable[[], bool]
) -> PassesRecord:
    """Score every batch twice and compare the logits to the bit.

    Args:
        predict: Maps uint8 images ``(N, C, H, W)`` to float32 logits, in evaluation mode.
        batches: What is scored.
        should_stop: Asked before each batch.

    Raises:
        Stopped: If ``should_stop`` said so.
    """
    images, equal, largest = 0, True, 0.0
    with torch.inference_mode():
        for batch in batches:
            if should_stop():
                raise Stopped
            first, second = predict(batch.images), predict(batch.images)
            images += len(batch.names)
            if not torch.equal(_bits(first), _bits(second)):
                equal = False
                largest = max(largest, float((first - second).abs().nan_to_num(0.0).max()))
    return PassesRecord(images=images, equal=equal, largest_difference=largest)


def _bits(logits: Tensor) -> Tensor:
    """Return float32 as whole numbers, in which NaN equals itself."""
    return logits.contiguous().view(torch.int32)
