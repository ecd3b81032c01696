"""One optimizer step: forward and back over one batch or several, clipping, the optimizer, the moving average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from segzoo.losses import WeightedSum
from segzoo.runtime.distributed import ALONE, World, unsynced
from segzoo.scoring.evaluation import Network
from segzoo.training.steps.average import WeightAverage
from segzoo.transfer import Features


class Trainable(Protocol):
    """Samples to train on: images, or what a part of the model made of them, and masks ``(N, H, W)``."""

    @property
    def images(self) -> Tensor | Features:
        """The images."""

    @property
    def masks(self) -> Tensor:
        """The masks."""


class LossSums(nn.Module):
    """Maps bytes on the device to the sums of the loss: normalisation, model and loss as one function to compile.

    Args:
        predictor: The model with its normalisation and precision.
        loss: The recipe's loss.
    """

    def __init__(self, predictor: Network, loss: WeightedSum) -> None:
        super().__init__()
        self.model = predictor.model
        self.loss = loss
        self._predictor = predictor

    def forward(self, images: Tensor | Features, masks: Tensor) -> list[Tensor]:
        """Return the sums of every term.

        Args:
            images: uint8 ``(N, C, H, W)``, or features of them.
            masks: uint8 labels ``(N, H, W)``.
        """
        return self.loss.sums(self._predictor.logits(images), masks.long())


class TrainStep:
    """Makes steps; nothing in it waits for the device.

    Parameters that are frozen or thawed need a new one: gradients are averaged for those that train when it is made.

    Args:
        predictor: The model with its normalisation and precision; says whether the step is compiled.
        loss: The recipe's loss.
        optimizer: Holds every parameter of the model.
        scaler: Scales losses in float16; elsewhere it is switched off.
        average: The moving average of the model, if the recipe asks for one.
        grad_clip: Largest L2 norm of the whole gradient; None does not clip.
        device: Where the model is.
        world: The processes that share every batch.
    """

    def __init__(
        self,
        *,
        predictor: Network,
        loss: WeightedSum,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        average: WeightAverage | None,
        grad_clip: float | None,
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        self.predictor = predictor
        self.loss = loss
        self.optimizer = optimizer
        self.scaler = scaler
        self.average = average
        self.grad_clip = grad_clip
        self.device = device
        self.world = world
        sums = LossSums(predictor, loss)
        if predictor.compilation is not None:
            # Before it is wrapped: torch averages gradients outside of what it compiles.
            sums.compile(dynamic=predictor.compilation.train_sizes_vary)
        self._sums = world.wrap(sums)

    def __call__(self, batches: Sequence[Trainable]) -> Tensor:
        """Train on batches that make one step, and return the loss, detached.

        Several batches add up to the gradient of their mean loss, in which each counts by its pixels that are not
        ignored; a mean over pixels is that of one large batch. So do the shares of several processes: their sums are
        added up before the loss is taken of them.
        """
        self._sums.train()
        self.optimizer.zero_grad(set_to_none=True)
        targets = [batch.masks.to(self.device, non_blocking=True) for batch in batches]
        losses = []
        shares = self._shares(targets)
        for place, (batch, target, share) in enumerate(zip(batches, targets, shares, strict=True), start=1):
            images = batch.images
            if isinstance(images, Tensor):  # what is compiled begins on the device
                images = images.to(self.device, non_blocking=True)
            with nullcontext() if place == len(batches) else unsynced(self._sums):
                sums = self._sums(images, target)
                loss = self.loss.value(self.world.add(sums)) * share
                # Gradients are averaged over the processes, and have to be added.
                torch.autograd.backward(self.scaler.scale(loss * self.world.size))
            losses.append(loss.detach())
        if self.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.predictor.model.parameters(), self.grad_clip)
        self._move_weights()
        if self.average is not None:
            self.average.update()
        return torch.stack(losses).sum()

    def _move_weights(self) -> None:
        groups = self.optimizer.param_groups
        # A CUDA graph reads learning rates from the device in float32, and its steps are to be those without a graph.
        rounded = [{"lr": _in_float32(group["lr"])} if self.device.type == "cuda" else {} for group in groups]
        with replaced(groups, rounded):
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def _shares(self, targets: Sequence[Tensor]) -> Sequence[Tensor | float]:
        if len(targets) == 1:
            return [1.0]
        ignored = self.loss.terms[0].ignore_index
        pixels = torch.stack([(target != ignored).sum() for target in targets])
        pixels = self.world.total(pixels)
        shares = pixels / pixels.sum().clamp_min(1)
        return list(shares.unbind())


@contextmanager
def replaced(groups: Sequence[dict[str, Any]], values: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Give an optimizer's groups other values for a while.

    Args:
        groups: The groups of parameters.
        values: What replaces the values of each group's keys.
    """
    before = [{key: group[key] for key in new} for group, new in zip(groups, values, strict=True)]
    try:
        for group, new in zip(groups, values, strict=True):
            group.update(new)
        yield
    finally:
        for group, old in zip(groups, before, strict=True):
            group.update(old)


def _in_float32(rate: float | Tensor) -> float | Tensor:
    return rate if isinstance(rate, Tensor) else float(np.float32(rate))
