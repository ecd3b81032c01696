"""One optimizer step: forward and back over one batch or several, clipping, the optimizer, the moving average."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from segzoo.losses import WeightedSum
from segzoo.runtime.distributed import ALONE, World, unsynced
from segzoo.scoring.evaluation import Predictor
from segzoo.training.average import WeightAverage
from segzoo.transfer import Features


class Trainable(Protocol):
    """Samples to train on: images, or what a part of the model made of them, and masks ``(N, H, W)``."""

    @property
    def images(self) -> Tensor | Features:
        """The images."""

    @property
    def masks(self) -> Tensor:
        """The masks."""


@dataclass(frozen=True)
class TrainStep:
    """Makes steps; nothing in it waits for the device.

    Args:
        predictor: The model with its normalisation and precision.
        loss: The recipe's loss.
        optimizer: Holds every parameter of the model.
        scaler: Scales losses in float16; elsewhere it is switched off.
        average: The moving average, if the recipe asks for one.
        grad_clip: Largest L2 norm of the whole gradient; None does not clip.
        device: Where the model is.
        world: The processes that share every batch.
    """

    predictor: Predictor
    loss: WeightedSum
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None
    grad_clip: float | None
    device: torch.device
    world: World = ALONE

    def __call__(self, batches: Sequence[Trainable]) -> Tensor:
        """Train on batches that make one step, and return the loss, detached.

        Several batches add up to the gradient of their mean loss, in which each counts by its pixels that are not
        ignored; a mean over pixels is that of one large batch. So do the shares of several processes: their sums are
        added up before the loss is taken of them.
        """
        model = self.predictor.model
        model.train()
        self.optimizer.zero_grad(set_to_none=True)
        targets = [batch.masks.to(self.device, non_blocking=True).long() for batch in batches]
        losses = []
        shares = self._shares(targets)
        for place, (batch, target, share) in enumerate(zip(batches, targets, shares, strict=True), start=1):
            with nullcontext() if place == len(batches) else unsynced(model):
                sums = self.loss.sums(self.predictor.logits(batch.images), target)
                loss = self.loss.value(self.world.add(sums)) * share
                # Gradients are averaged over the processes, and have to be added.
                torch.autograd.backward(self.scaler.scale(loss * self.world.size))
            losses.append(loss.detach())
        if self.grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), self.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(model)
        return torch.stack(losses).sum()

    def _shares(self, targets: Sequence[Tensor]) -> Sequence[Tensor | float]:
        if len(targets) == 1:
            return [1.0]
        ignored = self.loss.terms[0].ignore_index
        pixels = torch.stack([(target != ignored).sum() for target in targets])
        pixels = self.world.total(pixels)
        shares = pixels / pixels.sum().clamp_min(1)
        return list(shares.unbind())
