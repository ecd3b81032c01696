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

from segzoo.data.loading.loaders import Batch, EvalBatch, eval_loader, train_loader
from segzoo.data.loading.plan import InOrder
from segzoo.errors import DataError, RecipeError
from segzoo.runtime.memory import available_memory
from segzoo.scoring.evaluation import Stopped
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
        pin_memory: Whether batches lie in page-locked memory, for copies to a GPU that nothing waits for.

    Raises:
        RecipeError: If there is too little memory or too little space on the disk.
    """

    def __init__(self, like: Features, count: int, folder: Path | None, *, pin_memory: bool = False) -> None:
        images = like.size[0]
        self._form = like.filled([tensor[:1].clone() for tensor in like.tensors])
        self._masks: list[Tensor] = []
        self._names: list[str] = []
        needed = count * sum(tensor.nbytes for tensor in like.tensors) // images
        if folder is None:
            _refuse_memory(needed)
        self._pin = pin_memory
        self._rows = [_Rows(count, tensor, needed, folder, pin_memory=pin_memory) for tensor in like.tensors]

    def __len__(self) -> int:
        return len(self._masks)

    def add(self, features: Features, masks: Sequence[Tensor], names: Sequence[str]) -> None:
        """Append a batch.

        Raises:
            DataError: If its features are of another shape than those before.
        """
        first = len(self)
        for rows, tensor in zip(self._rows, features.tensors, strict=True):
            if tensor.shape[1:] != rows.view.shape[1:]:
                raise DataError(
                    f"the features of {names[0]} are {tuple(tensor.shape[1:])}, those before are "
                    f"{tuple(rows.view.shape[1:])}: to keep them set data.image_size, or set transfer.cache to 'none'"
                )
            rows.view[first : first + len(tensor)] = tensor.cpu()
        self._masks.extend(mask.clone() for mask in masks)
        self._names.extend(names)

    def batch(self, rows: Sequence[int], place: int = 0) -> FeatureBatch:
        """Return some samples, whose masks are alike.

        In pageable memory the features hold until the next batch is taken for the same place.
        """
        index = torch.tensor(rows)
        features = self._form.filled([tensor.take(index, place) for tensor in self._rows])
        masks = self._placed(torch.stack([self._masks[row] for row in rows]))
        return FeatureBatch(features, masks, tuple(self._names[row] for row in rows))

    def eval_batches(self, size: int) -> Iterator[FeatureEvalBatch]:
        """Yield all samples in order."""
        for first in range(0, len(self), size):
            rows = slice(first, min(first + size, len(self)))
            features = self._form.filled([self._placed(tensor.view[rows]) for tensor in self._rows])
            yield FeatureEvalBatch(features, tuple(map(self._placed, self._masks[rows])), tuple(self._names[rows]))

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if self._pin else tensor


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
        recipe, source = parts.recipe, parts.data.source
        self._plan = parts.data.plan
        self._samples = len(source.splits["train"])
        self.eval_batch_size = recipe.eval.batch_size or recipe.train.batch_size
        order = InOrder(self._samples, recipe.train.batch_size, parts.data.plan.views or 1)
        train = train_loader(
            source,
            "train",
            parts.data.transform,
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
            # The batches of a step are all in use at once.
            for place, keys in enumerate(self._plan.shares(step)):
                yield self.train.batch([view * self._samples + index for view, index in keys], place)

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
        found = found or FeatureSet(features, count, folder, pin_memory=parts.device.type == "cuda")
        found.add(features, tuple(batch.masks), batch.names)
    if found is None:
        raise ValueError("there are no samples")
    return found


def _amount(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _refuse_memory(needed: int) -> None:
    available = available_memory()
    if 0 < available < needed:
        raise RecipeError(
            f"transfer.cache 'memory': the features take {_amount(needed)}, {_amount(available)} are "
            "available; set it to 'disk' or 'none', or use fewer transfer.views or a smaller data.image_size"
        )


class _Rows:
    """One tensor of every sample, in memory or in a file that is gone when the process is.

    Args:
        count: Samples in all.
        like: The tensor for one batch, which tells form and layout.
        needed: Bytes that all tensors take, for messages.
        folder: Where the file lies; None keeps the rows in memory.
        pin_memory: Whether rows that are taken lie in page-locked memory.
    """

    def __init__(self, count: int, like: Tensor, needed: int, folder: Path | None, *, pin_memory: bool) -> None:
        # With channels last in the features they stay last, which is what the recipe asks for.
        self._last = (
            like.dim() == 4 and not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last)
        )
        shape = (count, *(like.movedim(1, -1) if self._last else like).shape[1:])
        self._stored = _space(prod(shape), like.dtype, needed, folder).view(shape)
        self._pin = pin_memory
        self._taken: dict[int, Tensor] = {}

    @property
    def view(self) -> Tensor:
        """All rows in the form of the features."""
        return self._formed(self._stored)

    def take(self, index: Tensor, place: int) -> Tensor:
        """Copy some rows into page-locked memory of their own, else into the memory that is kept for a place.

        New pageable memory for every batch costs several times the copy: the system clears each page before it hands it
        out. Page-locked memory comes from torch, which keeps it and hands none out again that a copy still reads.
        """
        if self._pin:
            return self._formed(torch.index_select(self._stored, 0, index, out=self._fresh(len(index))))
        taken = self._taken.get(place)
        if taken is None or len(taken) < len(index):
            taken = self._taken[place] = self._fresh(len(index))
        return self._formed(torch.index_select(self._stored, 0, index, out=taken[: len(index)]))

    def _fresh(self, count: int) -> Tensor:
        return torch.empty((count, *self._stored.shape[1:]), dtype=self._stored.dtype, pin_memory=self._pin)

    def _formed(self, stored: Tensor) -> Tensor:
        return stored.movedim(-1, 1) if self._last else stored


def _space(length: int, dtype: torch.dtype, needed: int, folder: Path | None) -> Tensor:
    if folder is None:
        return torch.empty(length, dtype=dtype)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".features-") as file:
        try:
            # Space that is only promised would end the process when the disk turns out to be full.
            os.posix_fallocate(file.fileno(), 0, max(length * dtype.itemsize, 1))
        except OSError as error:
            raise RecipeError(
                f"transfer.cache 'disk': the features take {_amount(needed)}, and in {folder} there is "
                f"{error.strerror.lower() if error.strerror else 'no room'}; choose another --out, a smaller "
                "data.image_size, fewer transfer.views, or cache 'none'"
            ) from error
        return torch.from_file(file.name, shared=True, size=length, dtype=dtype)
