"""Batches of bytes: the same ones whatever the number of workers, and from whatever step on they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from segzoo.data.draws import derive_seed
from segzoo.data.source import Pixels, Sample, Source
from segzoo.data.transforms import TrainTransform, resize
from segzoo.data.workers import WorkerLoader, as_is
from segzoo.errors import DataError, RecipeError

Key = tuple[int, int]
"""Epoch and position in the split: all that an augmentation depends on, beside the seed."""


class Batch(NamedTuple):
    """Training samples of one size.

    Args:
        images: uint8 ``(N, 3, H, W)``, RGB.
        masks: uint8 ``(N, H, W)``.
        names: The samples' names.
    """

    images: Tensor
    masks: Tensor
    names: tuple[str, ...]


class EvalBatch(NamedTuple):
    """Samples to be scored.

    Args:
        images: uint8 ``(N, 3, H, W)``, RGB.
        masks: uint8 ``(H, W)`` each, in the files' own resolution.
        names: The samples' names.
    """

    images: Tensor
    masks: tuple[Tensor, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Which samples each step trains on; every epoch has its own order.

    A last step that is not full is left out of its epoch, so that no odd batch meets a batch norm. Fewer samples
    than a step are one step.

    Args:
        num_samples: Samples in the split.
        batch_size: Samples in a batch.
        seed: Decides the order together with the epoch.
        accumulate: Batches in a step.

    Raises:
        ValueError: If there are no samples, a batch has none, or a step has no batch.
    """

    num_samples: int
    batch_size: int
    seed: int
    accumulate: int = 1

    def __post_init__(self) -> None:
        if min(self.num_samples, self.batch_size, self.accumulate) < 1:
            raise ValueError(
                "num_samples, batch_size and accumulate must be at least 1, got "
                f"{self.num_samples}, {self.batch_size} and {self.accumulate}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return max(self.num_samples // (self.batch_size * self.accumulate), 1)

    @property
    def batches_per_step(self) -> int:
        """Batches in every step."""
        return len(self.batches(0))

    def keys(self, step: int) -> list[Key]:
        """Return the epoch, from 0, and the position of each sample of a step, from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        size = self.batch_size * self.accumulate
        return [(epoch, index) for index in self._order(epoch)[position * size : (position + 1) * size]]

    def batches(self, step: int) -> list[list[Key]]:
        """Return the keys of a step, batch by batch."""
        keys = self.keys(step)
        return [keys[first : first + self.batch_size] for first in range(0, len(keys), self.batch_size)]

    def _order(self, epoch: int) -> list[int]:
        return _permutation(derive_seed(self.seed, "order", epoch), self.num_samples)


# Two, because workers are asked for the next epoch's batches before the last ones of this epoch are trained.
@lru_cache(maxsize=2)
def _permutation(seed: int, length: int) -> list[int]:
    order: list[int] = np.random.default_rng(seed).permutation(length).tolist()
    return order


def train_loader(
    source: Source,
    split: str,
    transform: TrainTransform,
    plan: Plan,
    *,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    pin_memory: bool,
) -> DataLoader[Batch]:
    """Return the batches of the steps from ``start`` up to ``stop``, across epochs, so that workers never restart.

    Iterating it raises DataError where a file can no longer be read or the sizes in a batch differ, RecipeError where
    an augmentation does not fit an image, RuntimeError where a worker died or hangs.

    Args:
        source: The data.
        split: The split to train on.
        transform: Called for each sample with a seed of ``seed``, the epoch and the sample.
        plan: The samples of each step.
        seed: The recipe's seed.
        start: First step, from 0.
        stop: The step after the last one.
        workers: Processes that load; 0 loads in this one.
        pin_memory: Whether batches lie in page-locked memory, for faster copies to a GPU.
    """
    load = _LoadTraining(source, source.splits[split], transform, seed)
    return WorkerLoader(load, _Steps(plan, start, stop), as_is, workers=workers, pin_memory=pin_memory)


def eval_loader(
    source: Source,
    split: str,
    *,
    image_size: tuple[int, int] | None,
    batch_size: int,
    workers: int,
    limit: int | None = None,
) -> DataLoader[EvalBatch]:
    """Return a split once, in order.

    Iterating it raises what iterating :func:`train_loader` does.

    Args:
        source: The data.
        split: The split.
        image_size: Height and width of the images; None keeps their own, which must be equal within a batch.
        batch_size: Samples in a batch; the last one may have fewer.
        workers: Processes that load; 0 loads in this one.
        limit: How many samples to take from the beginning; None takes all.
    """
    samples = source.splits[split][:limit]
    positions = range(len(samples))
    keys = [list(positions[first : first + batch_size]) for first in positions[::batch_size]]
    return WorkerLoader(_LoadEvaluation(source, samples, image_size), keys, _unpack, workers=workers, pin_memory=False)


class _Steps:
    """The keys of each batch, step after step."""

    def __init__(self, plan: Plan, start: int, stop: int) -> None:
        self._plan = plan
        self._steps = range(start, stop)

    def __iter__(self) -> Iterator[list[Key]]:
        return chain.from_iterable(map(self._plan.batches, self._steps))

    def __len__(self) -> int:
        return len(self._steps) * self._plan.batches_per_step


@dataclass(frozen=True)
class _LoadTraining:
    source: Source
    samples: Sequence[Sample]
    transform: TrainTransform
    seed: int

    def __call__(self, keys: Sequence[Key]) -> Batch:
        names = tuple(self.samples[index].name for _, index in keys)
        images, masks = zip(*map(self._augmented, keys), strict=True)
        _refuse_sizes(images, names, "train.batch_size")
        return Batch(_stack(images), torch.from_numpy(np.stack(masks)), names)

    def _augmented(self, key: Key) -> tuple[Pixels, Pixels]:
        epoch, index = key
        sample = self.samples[index]
        image, mask = self.source.read(sample)
        try:
            return self.transform(image, mask, seed=derive_seed(self.seed, "augment", epoch, index))
        except RecipeError as error:
            raise RecipeError(f"{sample.name}: {error}") from error


class _Packed(NamedTuple):
    """An EvalBatch on its way from a worker: each tensor takes a file descriptor, so the masks travel as one."""

    images: Tensor
    labels: Tensor
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class _LoadEvaluation:
    source: Source
    samples: Sequence[Sample]
    image_size: tuple[int, int] | None

    def __call__(self, keys: Sequence[int]) -> _Packed:
        samples = [self.samples[index] for index in keys]
        images, masks = zip(*map(self.source.read, samples), strict=True)
        names = tuple(sample.name for sample in samples)
        if self.image_size is not None:
            images = tuple(resize(image, None, self.image_size)[0] for image in images)
        _refuse_sizes(images, names, "eval.batch_size")
        labels = torch.from_numpy(np.concatenate([mask.ravel() for mask in masks]))
        return _Packed(_stack(images), labels, tuple(mask.shape for mask in masks), names)


def _unpack(packed: _Packed) -> EvalBatch:
    parts = torch.split(packed.labels, [height * width for height, width in packed.shapes])
    masks = tuple(part.view(shape) for part, shape in zip(parts, packed.shapes, strict=True))
    return EvalBatch(packed.images, masks, packed.names)


def _stack(images: Sequence[Pixels]) -> Tensor:
    """Turn images ``(H, W, 3)`` into one contiguous tensor ``(N, 3, H, W)``."""
    height, width, channels = images[0].shape
    stacked = np.empty((len(images), channels, height, width), np.uint8)
    for image, planes in zip(images, stacked, strict=True):
        cv2.split(image, list(planes))
    return torch.from_numpy(stacked)


def _refuse_sizes(images: Sequence[Pixels], names: Sequence[str], key: str) -> None:
    # One name for each size.
    sizes = {f"{image.shape[0]}x{image.shape[1]}": name for image, name in zip(images, names, strict=True)}
    if len(sizes) > 1:
        found = ", ".join(f"{name} {size}" for size, name in list(sizes.items())[:2])
        raise DataError(f"images of different sizes in a batch ({found}): set data.image_size, or {key} 1")
