"""Scoring a model over a split: one confusion matrix at the masks' own resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.losses import WeightedSum
from segzoo.metrics import boundary_f1, class_counts, confusion_matrices
from segzoo.nn.sliding import score_in_windows
from segzoo.recipe.schema import OVERLAP
from segzoo.runtime.distributed import ALONE, World
from segzoo.transfer import Cut, Features


@dataclass(frozen=True)
class Details:
    """The scores of each image.

    Args:
        counts: Right, true and predicted pixels of each class, int64 ``(N, 3, C)`` on the CPU.
        boundary: Boundary F1 of each class, float64 ``(N, C)``; NaN where the image has none of a class.
    """

    counts: Tensor
    boundary: Tensor


@dataclass(frozen=True)
class Evaluation:
    """The score of a split.

    Args:
        matrix: int64 ``(C, C)`` on the CPU, rows are the target.
        loss: The recipe's loss over all pixels of the split; None where it is not finite, or was not asked for.
        images: How many images were scored.
        predictions: Labels, uint8 ``(H, W)``, of the first images.
        details: What is known of each image, where it was asked for.
    """

    matrix: Tensor
    loss: float | None
    images: int
    predictions: tuple[Tensor, ...]
    details: Details | None = None


class Scorable(Protocol):
    """Samples to be scored: images, or what a part of the model made of them, and their masks ``(H, W)``."""

    @property
    def images(self) -> Tensor | Features:
        """The images."""

    @property
    def masks(self) -> tuple[Tensor, ...]:
        """The masks in the files' own resolution."""


class Stopped(Exception):  # noqa: N818 - a wish that was granted, no error
    """The evaluation was asked to stop."""


def score_split(
    predict: Callable[[Tensor | Features], Tensor],
    batches: Iterable[Scorable | None],
    *,
    num_classes: int,
    ignore_index: int,
    loss: WeightedSum | None,
    device: torch.device,
    keep: int = 0,
    detail: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    world: World = ALONE,
) -> Evaluation:
    """Score every image of ``batches``, none twice and none padded.

    Args:
        predict: Maps uint8 images ``(N, C, H, W)``, or features of them, to float32 logits ``(N, C, H, W)``, in
            evaluation mode.
        batches: The split, or this process's share of it; None where others have one more.
        num_classes: Classes of the logits.
        ignore_index: Label that is not scored.
        loss: The recipe's loss; None computes none.
        device: Where the logits are.
        keep: How many predictions to keep.
        detail: Whether to score each image for itself, and its outlines, which takes longer.
        should_stop: Asked before each batch.
        world: The processes that share the split. All learn the score, the first one predictions and details.

    Raises:
        Stopped: If ``should_stop`` said so.
    """
    tally = _Tally(num_classes, ignore_index, loss, device, keep=keep, detail=detail)
    with torch.inference_mode():
        for batch in batches:
            if should_stop():
                raise Stopped
            if batch is None:
                continue
            logits = predict(batch.images)
            masks = [mask.to(device, non_blocking=True) for mask in batch.masks]
            for part, target in _at_mask_resolution(logits, masks):
                tally.add(part, target.long())
        return tally.evaluation(world)


class _Tally:
    """What is counted of a split so far, on the device: nothing in ``add`` waits for it, but for the outlines."""

    def __init__(
        self,
        num_classes: int,
        ignore_index: int,
        loss: WeightedSum | None,
        device: torch.device,
        *,
        keep: int,
        detail: bool,
    ) -> None:
        self._labels = {"num_classes": num_classes, "ignore_index": ignore_index}
        self._loss = loss
        self._device = device
        self._precise = torch.float32 if device.type == "mps" else torch.float64
        self._keep = keep
        self._detail = detail
        self._images = 0
        self._matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
        self._sums: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._boundary: list[Tensor] = []

    def add(self, logits: Tensor, target: Tensor) -> None:
        """Score logits ``(N, C, H, W)`` against int64 labels ``(N, H, W)``."""
        labels = logits.argmax(dim=1)
        matrices = confusion_matrices(labels, target, **self._labels)
        self._matrix += matrices.sum(0)
        self._images += len(labels)
        if self._loss is not None:
            added = [sums.to(self._precise) for sums in self._loss.sums(logits, target)]
            before = self._sums or [torch.zeros_like(sums) for sums in added]
            self._sums = [total + more for total, more in zip(before, added, strict=True)]
        if self._detail:
            self._counts.append(class_counts(matrices))
            pairs = zip(labels, target, strict=True)
            self._boundary.extend(boundary_f1(label, true, **self._labels) for label, true in pairs)
        self._kept.extend(label.to(torch.uint8) for label in labels[: max(self._keep - len(self._kept), 0)])

    def evaluation(self, world: World) -> Evaluation:
        """Return the score of the whole split, of which other processes have other shares."""
        found = world.collect((self._matrix.cpu(), [part.cpu() for part in self._sums], self._images))
        counts = [each.clone() for batch in self._counts for each in batch.cpu()]
        counts, boundary = world.interleave(counts), world.interleave(self._boundary)
        return Evaluation(
            matrix=torch.stack([part for part, _, _ in found]).sum(0),
            loss=self._value([sums for _, sums, _ in found if sums]),
            images=sum(count for _, _, count in found),
            predictions=tuple(world.interleave([label.cpu() for label in self._kept])),
            details=Details(torch.stack(counts), torch.stack(boundary)) if counts else None,
        )

    def _value(self, shares: Sequence[Sequence[Tensor]]) -> float | None:
        """Return the loss of sums that the processes took; None where it is not finite, or there is none."""
        if self._loss is None or not shares:
            return None
        total = [torch.stack(parts).sum(0).to(self._device) for parts in zip(*shares, strict=True)]
        value = float(self._loss.value(total))
        return value if math.isfinite(value) else None


def count_image(predicted: Tensor, target: Tensor, *, num_classes: int, ignore_index: int) -> Tensor:
    """Return the counts of one image, int64 ``(3, C)``: right, true and predicted pixels of each class.

    Args:
        predicted: Labels ``(H, W)``.
        target: Labels ``(H, W)``.
        num_classes: Number of classes.
        ignore_index: Label in ``target`` that is not counted.
    """
    pair = predicted.unsqueeze(0), target.unsqueeze(0)
    return class_counts(confusion_matrices(*pair, num_classes=num_classes, ignore_index=ignore_index)).squeeze(0)


def _at_mask_resolution(logits: Tensor, masks: Sequence[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield logits and masks of equal size: all together where the masks are alike, else one by one."""
    alike = len({mask.shape for mask in masks}) == 1
    groups = [(logits, masks)] if alike else [(logits[i : i + 1], masks[i : i + 1]) for i in range(len(masks))]
    for part, group in groups:
        stacked = torch.stack(tuple(group))
        yield resize_logits(part, (stacked.shape[-2], stacked.shape[-1])), stacked


def resize_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize logits ``(N, C, H, W)`` bilinearly to another height and width."""
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


class Windows(NamedTuple):
    """Windows in which images are seen.

    Args:
        size: Height and width in pixels.
        batch_size: How many are scored at once.
    """

    size: tuple[int, int]
    batch_size: int

    def score(self, score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return the logits of images, of which the function sees these windows."""
        return score_in_windows(score, images, window=self.size, overlap=OVERLAP, batch_size=self.batch_size)


class Compilation(NamedTuple):
    """What torch compiles for: each size of batch by itself, or one program for sizes that vary.

    A program for one size is the same wherever it is compiled; that of many depends on the sizes that it met.

    Args:
        train_sizes_vary: Whether training images have many sizes.
        eval_sizes_vary: Whether scored images have many sizes.
    """

    train_sizes_vary: bool
    eval_sizes_vary: bool


class Network:
    """Runs a model on bytes: normalised, in evaluation mode, in the run's precision.

    Args:
        model: The model, on its device.
        normalise: Maps bytes to the model's input.
        device: Where both are.
        dtype: Autocast's type; None computes in float32.
        channels_last: Whether images are laid out with channels last.
        cut: Where the model is cut in two; None runs it as a whole.
        windows: The windows in which it is called on images; None calls it on whole images.
        compilation: How calling it is compiled, and a training step that uses it; None compiles neither.
    """

    def __init__(
        self,
        model: nn.Module,
        normalise: nn.Module,
        *,
        device: torch.device,
        dtype: torch.dtype | None,
        channels_last: bool,
        cut: Cut | None = None,
        windows: Windows | None = None,
        compilation: Compilation | None = None,
    ) -> None:
        self.model = model
        self.normalise = normalise
        self.device = device
        self.dtype = dtype
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.cut = cut
        self.windows = windows
        self.compilation = compilation
        self._logits: Callable[[Tensor | Features], Tensor] = self.logits
        if compilation is not None:
            self._logits = torch.compile(self.logits, dynamic=compilation.eval_sizes_vary)

    def prepare(self, images: Tensor) -> Tensor:
        """Map uint8 images to the model's input."""
        prepared: Tensor = self.normalise(images.to(self.device, non_blocking=True))
        return prepared.contiguous(memory_format=self.layout)

    def features(self, images: Tensor) -> Features:
        """Map uint8 images to the features that the head is trained on.

        Raises:
            ValueError: If the model is not cut in two.
        """
        with self._autocast():
            return self._cut().extract(self.prepare(images))

    def logits(self, images: Tensor | Features) -> Tensor:
        """Map uint8 images, or features of them, to float32 logits in whatever mode the model is."""
        with self._autocast():
            logits = self._whole(images) if isinstance(images, Tensor) else self._score(images.to(self.device))
        return logits.float()

    def _whole(self, images: Tensor) -> Tensor:
        if self.cut is not None:
            return self._score(self.features(images))
        logits: Tensor = self.model(self.prepare(images))
        return logits

    def _score(self, features: Features) -> Tensor:
        return self._cut().score(features)

    def __call__(self, images: Tensor | Features) -> Tensor:
        """Map uint8 images, or features of them, to float32 logits with the model in evaluation mode."""
        self.model.eval()
        if not isinstance(images, Tensor):
            return self._logits(images)
        # What is compiled begins on the device.
        images = images.to(self.device, non_blocking=True)
        return self._logits(images) if self.windows is None else self.windows.score(self._logits, images)

    def _cut(self) -> Cut:
        if self.cut is None:
            raise ValueError("the model runs as a whole")
        return self.cut

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)
