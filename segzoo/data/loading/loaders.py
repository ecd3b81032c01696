"""Batches of bytes: the same ones whatever the number of workers, and from whatever step on they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from segzoo.data.draws import derive_seed
from segzoo.data.loading.cache import DecodedCache, make_cache
from segzoo.data.loading.plan import InOrder, Key, Plan
from segzoo.data.loading.processes import forks
from segzoo.data.loading.workers import Allocate, WorkerLoader
from segzoo.data.source import Pixels, Sample, Source
from segzoo.data.transforms import TrainTransform, resize
from segzoo.errors import DataError, RecipeError


class Batch(NamedTuple):
    """Training samples of one size.

    Args:
        images: uint8 ``(N, C, H, W)``.
        masks: uint8 ``(N, H, W)``.
        names: The samples' names.
    """

    images: Tensor
    masks: Tensor
    names: tuple[str, ...]


class EvalBatch(NamedTuple):
    """Samples to be scored.

    Args:
        images: uint8 ``(N, C, H, W)``.
        masks: uint8 ``(H, W)`` each, in the files' own resolution.
        names: The samples' names.
    """

    images: Tensor
    masks: tuple[Tensor, ...]
    names: tuple[str, ...]


def train_loader(
    source: Source,
    split: str,
    transform: TrainTransform,
    plan: Plan | InOrder,
    *,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    pin_memory: bool,
    cache_bytes: int | None = None,
    processes: int = 1,
) -> DataLoader[Batch]:
    """Return the batches of the steps from ``start`` up to ``stop``, across epochs, so that workers never restart.

    Decoded samples are kept in memory where there is plenty of it; batches do not depend on that.

    Iterating it raises DataError where a file can no longer be read or the sizes in a batch differ, RecipeError where
    an augmentation does not fit an image, RuntimeError where a worker died or hangs.

    Args:
        source: The data.
        split: The split to train on.
        transform: Called for each sample with a seed of ``seed``, the epoch and the sample.
        plan: The samples of each step, and this process's share of them.
        seed: The recipe's seed.
        start: First step, from 0.
        stop: The step after the last one.
        workers: Processes that load; 0 loads in this one.
        pin_memory: Whether batches lie in page-locked memory, for faster copies to a GPU.
        cache_bytes: Bytes that decoded samples may take; None is a share of the memory available.
        processes: How many processes of this machine train, each with a loader of its own.

    Raises:
        DataError: As iterating it does, where workers load: the size of a batch is seen on the first sample.
        RecipeError: Likewise.
    """
    samples = source.splits[split]
    # Only samples that are met again are worth keeping, and only where it is one memory.
    pays = stop - start > plan.steps_per_epoch and (not workers or forks())
    cache = make_cache(len(samples), capacity=cache_bytes, processes=processes) if pays else None
    load = _LoadTraining(source, samples, transform, seed, cache)
    return WorkerLoader(
        load,
        _Steps(plan, start, stop),
        _batch,
        workers=workers,
        pin_memory=pin_memory,
        batch_bytes=load.measure(plan.shares(start)[0]) if workers and start < stop else 0,
    )


def try_first_batch(source: Source, split: str, transform: TrainTransform, plan: Plan, *, seed: int) -> Batch:
    """Return the first batch, loaded in this process, so that what is wrong with it is told before a run begins.

    Args:
        source: The data.
        split: The split to train on.
        transform: As :func:`train_loader` takes it.
        plan: The samples of each step.
        seed: The recipe's seed.

    Raises:
        DataError: If a file cannot be read, or the sizes in the batch differ.
        RecipeError: If an augmentation does not fit an image.
    """
    load = _LoadTraining(source, source.splits[split], transform, seed, None)
    memory: list[Pixels] = []

    def allocate(size: int) -> Pixels:
        memory.append(np.empty(size, np.uint8))
        return memory[-1]

    layout = load(plan.shares(0)[0], allocate)
    return _batch(torch.from_numpy(memory[-1]), layout)


def eval_loader(
    source: Source,
    split: str,
    *,
    image_size: tuple[int, int] | None,
    batch_size: int,
    workers: int,
    pin_memory: bool = False,
    limit: int | None = None,
    process: int = 0,
    processes: int = 1,
) -> DataLoader[EvalBatch]:
    """Return a split once, in order; of several processes each takes every so-manieth sample.

    Iterating it raises what iterating :func:`train_loader` does.

    Args:
        source: The data.
        split: The split.
        image_size: Height and width of the images; None keeps their own, which must be equal within a batch.
        batch_size: Samples in a batch; the last one may have fewer.
        workers: Processes that load; 0 loads in this one.
        pin_memory: Whether batches, masks included, lie in page-locked memory, for copies that nothing waits for.
        limit: How many samples to take from the beginning; None takes all.
        process: Which of the processes that share the split this one is, from 0.
        processes: How many there are.
    """
    samples = source.splits[split][:limit]
    positions = range(process, len(samples), processes)
    keys = [list(positions[first : first + batch_size]) for first in range(0, len(positions), batch_size)]
    return WorkerLoader(
        _LoadEvaluation(source, samples, image_size), keys, _eval_batch, workers=workers, pin_memory=pin_memory
    )


class _Steps:
    """The keys of each batch, step after step."""

    def __init__(self, plan: Plan | InOrder, start: int, stop: int) -> None:
        self._plan = plan
        self._steps = range(start, stop)

    def __iter__(self) -> Iterator[list[Key]]:
        return chain.from_iterable(map(self._plan.shares, self._steps))

    def __len__(self) -> int:
        return len(self._steps) * self._plan.batches_per_step


class _Layout(NamedTuple):
    """What tells the bytes of a batch apart: all images come first, then mask after mask.

    Args:
        names: The samples' names.
        image: Channels, height and width of every image.
        masks: Height and width of each mask.
    """

    names: tuple[str, ...]
    image: tuple[int, ...]
    masks: tuple[tuple[int, ...], ...]

    @property
    def image_bytes(self) -> int:
        """How many bytes the images take."""
        return len(self.names) * prod(self.image)


@dataclass(frozen=True)
class _LoadTraining:
    source: Source
    samples: Sequence[Sample]
    transform: TrainTransform
    seed: int
    cache: DecodedCache | None

    def __call__(self, keys: Sequence[Key], allocate: Allocate) -> _Layout:
        names = tuple(self.samples[index].name for _, index in keys)
        image, mask = self._augmented(keys[0])
        layout = _Layout(names, (image.shape[2], *image.shape[:2]), (mask.shape,) * len(keys))
        memory = allocate(len(keys) * (image.size + mask.size))
        images = memory[: layout.image_bytes].reshape(-1, *layout.image)
        masks = memory[layout.image_bytes :].reshape(-1, *mask.shape)
        for place, key in enumerate(keys):
            if place:
                image, mask = self._augmented(key)
                _refuse_sizes((images[0].shape[1:], image.shape), (names[0], names[place]), "train.batch_size")
            # While it is still warm it is copied fastest.
            cv2.split(image, list(images[place]))
            masks[place] = mask
        return layout

    def measure(self, keys: Sequence[Key]) -> int:
        """Return the bytes of a batch, judged by its first sample."""
        image, mask = self._augmented(keys[0])
        return len(keys) * (image.size + mask.size)

    def _augmented(self, key: Key) -> tuple[Pixels, Pixels]:
        epoch, index = key
        image, mask = self._prepared(index)
        try:
            return self.transform(image, mask, seed=derive_seed(self.seed, "augment", epoch, index))
        except RecipeError as error:
            raise RecipeError(f"{self.samples[index].name}: {error}") from error

    def _prepared(self, index: int) -> tuple[Pixels, Pixels]:
        found = None if self.cache is None else self.cache.find(index)
        if found is None:
            found = self.transform.prepare(*self.source.read(self.samples[index]))
            if self.cache is not None:
                self.cache.keep(index, *found)
        return found


def _batch(data: Tensor, layout: _Layout) -> Batch:
    images, masks = data[: layout.image_bytes], data[layout.image_bytes :]
    return Batch(images.view(-1, *layout.image), masks.view(-1, *layout.masks[0]), layout.names)


@dataclass(frozen=True)
class _LoadEvaluation:
    source: Source
    samples: Sequence[Sample]
    image_size: tuple[int, int] | None

    def __call__(self, keys: Sequence[int], allocate: Allocate) -> _Layout:
        samples = [self.samples[index] for index in keys]
        images, masks = zip(*map(self.source.read, samples), strict=True)
        names = tuple(sample.name for sample in samples)
        if self.image_size is not None:
            images = tuple(resize(image, None, self.image_size)[0] for image in images)
        _refuse_sizes([image.shape for image in images], names, "eval.batch_size")
        height, width, channels = images[0].shape
        layout = _Layout(names, (channels, height, width), tuple(mask.shape for mask in masks))
        memory = allocate(sum(part.size for part in (*images, *masks)))
        for image, planes in zip(images, memory[: layout.image_bytes].reshape(-1, *layout.image), strict=True):
            cv2.split(image, list(planes))
        np.concatenate([mask.ravel() for mask in masks], out=memory[layout.image_bytes :])
        return layout


def _eval_batch(data: Tensor, layout: _Layout) -> EvalBatch:
    images, labels = data[: layout.image_bytes], data[layout.image_bytes :]
    parts = torch.split(labels, [prod(shape) for shape in layout.masks])
    masks = tuple(part.view(shape) for part, shape in zip(parts, layout.masks, strict=True))
    return EvalBatch(images.view(-1, *layout.image), masks, layout.names)


def _refuse_sizes(shapes: Sequence[tuple[int, ...]], names: Sequence[str], key: str) -> None:
    # One name for each size.
    sizes = {f"{shape[0]}x{shape[1]}": name for shape, name in zip(shapes, names, strict=True)}
    if len(sizes) > 1:
        found = ", ".join(f"{name} {size}" for size, name in list(sizes.items())[:2])
        raise DataError(f"images of different sizes in a batch ({found}): set data.image_size, or {key} 1")
