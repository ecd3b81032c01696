"""Batches of bytes: the same ones whatever the number of workers, and from whatever step on they are asked for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segzoo.data.draws import derive_seed
from segzoo.data.source import Pixels, Sample, Source
from segzoo.data.transforms import TrainTransform, resize
from segzoo.errors import DataError, RecipeError, SegzooError

WORKER_TIMEOUT_S = 120
"""A worker that gives no batch for so long hangs."""

Key = tuple[int, int]
"""Epoch and position in the split: all that an augmentation depends on, beside the seed."""

T = TypeVar("T")


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

    A last batch that is not full is left out of its epoch, so that no odd batch meets a batch norm. Fewer samples
    than a batch are one batch.

    Args:
        num_samples: Samples in the split.
        batch_size: Samples in a batch.
        seed: Decides the order together with the epoch.

    Raises:
        ValueError: If there are no samples or a batch has none.
    """

    num_samples: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.batch_size < 1:
            raise ValueError(
                f"num_samples and batch_size must be at least 1, got {self.num_samples} and {self.batch_size}"
            )

    @property
    def batches_per_epoch(self) -> int:
        """Steps in an epoch."""
        return max(self.num_samples // self.batch_size, 1)

    def keys(self, step: int) -> list[Key]:
        """Return the epoch, from 0, and the position of each sample in the batch of a step, from 0."""
        epoch, position = divmod(step, self.batches_per_epoch)
        first = position * self.batch_size
        return [(epoch, index) for index in self._order(epoch)[first : first + self.batch_size]]

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
    dataset = _TrainSet(source, source.splits[split], transform, seed)
    return _Loader(dataset, _Steps(plan, start, stop), _same, workers=workers, pin_memory=pin_memory)


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
    batches = [
        list(range(first, min(first + batch_size, len(samples)))) for first in range(0, len(samples), batch_size)
    ]
    return _Loader(_EvalSet(source, samples, image_size), batches, _unpack, workers=workers, pin_memory=False)


class _Steps:
    """The keys of each batch from step to step."""

    def __init__(self, plan: Plan, start: int, stop: int) -> None:
        self._plan = plan
        self._steps = range(start, stop)

    def __iter__(self) -> Iterator[list[Key]]:
        return map(self._plan.keys, self._steps)

    def __len__(self) -> int:
        return len(self._steps)


class _BatchSet(Dataset[Any]):
    """Loads whole batches; what a user is to be told comes back as a value.

    torch would raise a worker's exception anew with its traceback inside the message.
    """

    def load(self, keys: Sequence[Any]) -> Any:  # noqa: ANN401 - a batch, in a form of the subclass's own
        raise NotImplementedError

    def __getitems__(self, keys: Sequence[Any]) -> Any:  # noqa: ANN401
        try:
            return self.load(keys)
        except SegzooError as error:
            return error


class _TrainSet(_BatchSet):
    def __init__(self, source: Source, samples: Sequence[Sample], transform: TrainTransform, seed: int) -> None:
        self._source, self._samples, self._transform, self._seed = source, samples, transform, seed

    def load(self, keys: Sequence[Key]) -> Batch:
        names = tuple(self._samples[index].name for _, index in keys)
        images, masks = zip(*map(self._augmented, keys), strict=True)
        _refuse_sizes(images, names, "train.batch_size")
        return Batch(_stack(images), torch.from_numpy(np.stack(masks)), names)

    def _augmented(self, key: Key) -> tuple[Pixels, Pixels]:
        epoch, index = key
        sample = self._samples[index]
        image, mask = self._source.read(sample)
        try:
            return self._transform(image, mask, seed=derive_seed(self._seed, "augment", epoch, index))
        except RecipeError as error:
            raise RecipeError(f"{sample.name}: {error}") from error


class _Packed(NamedTuple):
    """An EvalBatch on its way from a worker: each tensor takes a file descriptor, so the masks travel as one."""

    images: Tensor
    labels: Tensor
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]


class _EvalSet(_BatchSet):
    def __init__(self, source: Source, samples: Sequence[Sample], image_size: tuple[int, int] | None) -> None:
        self._source, self._samples, self._image_size = source, samples, image_size

    def load(self, keys: Sequence[int]) -> _Packed:
        samples = [self._samples[index] for index in keys]
        images, masks = zip(*map(self._source.read, samples), strict=True)
        names = tuple(sample.name for sample in samples)
        if self._image_size is not None:
            images = tuple(resize(image, None, self._image_size)[0] for image in images)
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
    for image, name in zip(images, names, strict=True):
        if image.shape != images[0].shape:
            sizes = [
                f"{name} {image.shape[0]}x{image.shape[1]}" for name, image in ((names[0], images[0]), (name, image))
            ]
            raise DataError(
                f"images of different sizes in a batch ({', '.join(sizes)}): set data.image_size, or {key} 1"
            )


class _Loader(DataLoader[T], Generic[T]):
    """A DataLoader over whole batches that raises what workers report and never waits for a worker that hangs."""

    def __init__(
        self,
        dataset: _BatchSet,
        batches: Iterable[list[Any]],
        finish: Callable[[Any], T],
        *,
        workers: int,
        pin_memory: bool,
    ) -> None:
        self._finish = finish
        super().__init__(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=_same,
            pin_memory=pin_memory,
            worker_init_fn=_init_worker,
            generator=torch.Generator(),  # else each iterator would draw from the global one
        )

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        with _signals_blocked():
            batches = super().__iter__()
        workers = getattr(batches, "_workers", ())
        try:
            while True:
                with _killed_when_late(workers):
                    batch = next(batches, None)
                if batch is None:
                    return
                if isinstance(batch, SegzooError):
                    raise batch
                yield self._finish(batch)
        except (RuntimeError, OSError, EOFError) as error:
            if not workers:
                raise
            for worker in workers:
                # torch answers a death with an error wherever the process is; it has been told of one already.
                with suppress(RuntimeError):
                    worker.kill()
                    worker.join()
            # A death while memory is handed over shows as a broken connection.
            raise (
                error if isinstance(error, RuntimeError) else RuntimeError(f"DataLoader worker lost: {error}")
            ) from error


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Start workers that SIGINT and SIGTERM do not reach from the first moment on.

    Both often go to the whole group of processes; the training process needs its workers to finish the step.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _killed_when_late(workers: Sequence[BaseProcess]) -> Iterator[None]:
    """Turn workers that hang into workers that died, which torch reports as a RuntimeError.

    torch's own timeout does not cover the handing over of memory, for which a worker must be awake.
    """
    if not workers:
        yield
        return
    timer = threading.Timer(WORKER_TIMEOUT_S, lambda: [worker.kill() for worker in workers])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _same(batch: Any) -> Any:  # noqa: ANN401 - batches come collated
    return batch


def _init_worker(worker: int) -> None:
    """Use one core."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
