"""Features that are computed once: later epochs train the head alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from segzoo.data.loaders import Batch, EvalBatch, eval_loader, train_loader
from segzoo.data.memory import available_memory
from segzoo.data.plan import InOrder
from segzoo.errors import DataError, RecipeError
from segzoo.training.evaluation import Stopped
from segzoo.training.parts import Parts
from segzoo.transfer import Features


class FeatureBatch(NamedTuple):
    """Training samples as features.

    Args:
        images: The images' features.
        masks: uint8 ``(N, H, W)``.
        names: The samples' names.
    """

    images: Features
    masks: Tensor
    names: tuple[str, ...]


class FeatureEvalBatch(NamedTuple):
    """Samples to be scored, as features.

    Args:
        images: The images' features.
        masks: uint8 ``(H, W)`` each, in the files' own resolution.
        names: The samples' names.
    """

    images: Features
    masks: tuple[Tensor, ...]
    names: tuple[str, ...]


class FeatureSet:
    """The features of some samples, row by row, with their masks.

    Args:
        like: Features of one batch, which tell the form of all.
        count: Samples in all.
        folder: Where a file holds the features; None keeps them in memory.

    Raises:
        RecipeError: If there is too little memory or too little space on the disk.
    """

    def __init__(self, like: Features, count: int, folder: Path | None) -> None:
        images = like.size[0]
        self._form = like.filled([tensor[:1].clone() for tensor in like.tensors])
        self._masks: list[Tensor] = []
        self._names: list[str] = []
        needed = count * sum(tensor.nbytes for tensor in like.tensors) // images
        if folder is None:
            _refuse_memory(needed)
        self._rows = [_rows(count, tensor, needed, folder) for tensor in like.tensors]

    def __len__(self) -> int:
        return len(self._masks)

    def add(self, features: Features, masks: Sequence[Tensor], names: Sequence[str]) -> None:
        """Append a batch.

        Raises:
            DataError: If its features are of another shape than those before.
        """
        first = len(self)
        for rows, tensor in zip(self._rows, features.tensors, strict=True):
            if tensor.shape[1:] != rows.shape[1:]:
                raise DataError(
                    f"the features of {names[0]} are {tuple(tensor.shape[1:])}, those before are "
                    f"{tuple(rows.shape[1:])}: to keep them set data.image_size, or set transfer.cache to 'none'"
                )
            rows[first : first + len(tensor)] = tensor.cpu()
        self._masks.extend(mask.clone() for mask in masks)
        self._names.extend(names)

    def batch(self, rows: Sequence[int]) -> FeatureBatch:
        """Return some samples, whose masks are alike."""
        masks = torch.stack([self._masks[row] for row in rows])
        return FeatureBatch(self._take(rows), masks, tuple(self._names[row] for row in rows))

    def eval_batches(self, size: int) -> Iterator[FeatureEvalBatch]:
        """Yield all samples in order."""
        for first in range(0, len(self), size):
            rows = range(first, min(first + size, len(self)))
            masks, names = self._masks[first : rows.stop], self._names[first : rows.stop]
            yield FeatureEvalBatch(self._take(rows), tuple(masks), tuple(names))

    def _take(self, rows: Sequence[int]) -> Features:
        index = torch.tensor(rows)
        return self._form.filled([tensor[index] for tensor in self._rows])


class FeatureCache:
    """The features of the training split, in all its views, and of the evaluation split.

    They are computed in the order of the files and in batches of the recipe's size, so that a resumed run, which
    computes them anew, finds the same bits.

    Args:
        parts: The parts of a run that cuts its model.
        folder: Where files without a name hold the features; None keeps them in memory.
        should_stop: Asked before each batch.

    Raises:
        RecipeError: If there is too little memory or too little space on the disk.
        DataError: If the images have several sizes.
        Stopped: If ``should_stop`` said so.
    """

    def __init__(self, parts: Parts, folder: Path | None, should_stop: Callable[[], bool]) -> None:
        recipe, source = parts.recipe, parts.source
        self._plan = parts.plan
        self._samples = len(source.splits["train"])
        self.eval_batch_size = recipe.eval.batch_size or recipe.train.batch_size
        order = InOrder(self._samples, recipe.train.batch_size, parts.plan.views or 1)
        train = train_loader(
            source,
            "train",
            parts.transform,
            order,
            seed=recipe.train.seed,
            start=0,
            stop=order.total_steps,
            workers=parts.workers,
            pin_memory=False,
        )
        self.train = _fill(parts, train, self._samples * order.views, folder, should_stop)
        evaluation = eval_loader(
            source,
            recipe.eval.split,
            image_size=recipe.data.image_size,
            batch_size=self.eval_batch_size,
            workers=parts.workers,
        )
        self.evaluation = _fill(parts, evaluation, len(source.splits[recipe.eval.split]), folder, should_stop)

    def steps(self, start: int, stop: int) -> Iterator[FeatureBatch]:
        """Yield the batches of the steps from ``start`` up to ``stop``."""
        for step in range(start, stop):
            for keys in self._plan.shares(step):
                yield self.train.batch([view * self._samples + index for view, index in keys])

    def eval_batches(self) -> Iterator[FeatureEvalBatch]:
        """Yield the evaluation split once, in order."""
        return self.evaluation.eval_batches(self.eval_batch_size)


def _fill(
    parts: Parts,
    batches: Iterable[Batch] | Iterable[EvalBatch],
    count: int,
    folder: Path | None,
    should_stop: Callable[[], bool],
) -> FeatureSet:
    """Return the features of all batches."""
    found: FeatureSet | None = None
    parts.model.eval()
    for batch in batches:
        if should_stop():
            raise Stopped
        features = parts.predictor.features(batch.images)
        found = found or FeatureSet(features, count, folder)
        found.add(features, tuple(batch.masks), batch.names)
    if found is None:
        raise ValueError("there are no samples")
    return found


def _refuse_memory(needed: int) -> None:
    available = available_memory()
    if 0 < available < needed:
        raise RecipeError(
            f"transfer.cache 'memory': the features take {needed / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are "
            "available; set it to 'disk' or 'none', or use fewer transfer.views or a smaller data.image_size"
        )


def _rows(count: int, like: Tensor, needed: int, folder: Path | None) -> Tensor:
    """Return space for one tensor of every sample, in memory or in a file that is gone when the process is."""
    # With channels last in the features they stay last, which is what the recipe asks for.
    last = like.dim() == 4 and not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last)
    shape = (count, *(like.movedim(1, -1) if last else like).shape[1:])
    rows = _space(prod(shape), like.dtype, needed, folder).view(shape)
    return rows.movedim(-1, 1) if last else rows


def _space(length: int, dtype: torch.dtype, needed: int, folder: Path | None) -> Tensor:
    if folder is None:
        return torch.empty(length, dtype=dtype)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".features-") as file:
        try:
            # Space that is only promised would end the process when the disk turns out to be full.
            os.posix_fallocate(file.fileno(), 0, max(length * dtype.itemsize, 1))
        except OSError as error:
            raise RecipeError(
                f"transfer.cache 'disk': the features take {needed / 2**30:.1f} GiB, and in {folder} there is "
                f"{error.strerror.lower() if error.strerror else 'no room'}; use fewer transfer.views, a smaller "
                "data.image_size, or cache 'none'"
            ) from error
        return torch.from_file(file.name, shared=True, size=length, dtype=dtype)
