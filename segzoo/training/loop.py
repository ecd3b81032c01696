"""The training loop: plain torch, exact to the bit wherever it is stopped.

Every draw comes from the seed and the step, never from what ran before: the order of an epoch and the augmentation of
a sample from (seed, epoch, sample), everything that torch draws inside a step (dropout) from (seed, step). What a
resumed run needs is therefore the model, the optimizer and a few counters.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segzoo.data.draws import derive_seed
from segzoo.data.loaders import Batch, eval_loader, train_loader
from segzoo.errors import Interrupted, TrainingError
from segzoo.training.checkpoint import BEST, read_checkpoint, save_checkpoint
from segzoo.training.epoch import PREVIEWS, epoch_row, write_best, write_frame
from segzoo.training.evaluation import Evaluation, Stopped, evaluate
from segzoo.training.optimizers import learning_rates, set_learning_rate
from segzoo.training.parts import Parts
from segzoo.training.progress import Display, show_progress
from segzoo.training.rundir import RunDirectory
from segzoo.training.schedules import learning_rate
from segzoo.training.signals import StopRequest

CHECK_LOSS_EVERY = 50
"""Steps between two looks at the loss: each look waits for the device."""


@dataclass
class State:
    """What changes from step to step, beside the model and the optimizer."""

    step: int = 0
    epochs_done: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    epoch_images: int = 0
    epoch_seconds: float = 0.0
    best: dict[str, Any] | None = None
    train_seconds: float = 0.0


class Trainer:
    """Trains, validates and saves.

    Args:
        parts: The model and all that it is trained with.
        run: Where everything is written.
        stop: Set by a signal.
        environment: Device and thread count, for the checkpoint and the model's provenance.
    """

    def __init__(self, parts: Parts, run: RunDirectory, stop: StopRequest, environment: dict[str, Any]) -> None:
        self.parts = parts
        self.run = run
        self.stop = stop
        self.environment = environment
        self.state = State()
        precise = torch.float32 if parts.device.type == "mps" else torch.float64
        # Kept on the device: reading them is the only wait for it.
        self._loss_sum = torch.zeros((), dtype=precise, device=parts.device)
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=parts.device)
        self._clock = time.perf_counter()

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""
        self.parts.model.load_state_dict(saved["model"])
        self.parts.optimizer.load_state_dict(saved["optimizer"])
        self.state = State(**saved["state"])
        self._loss_sum.fill_(self.state.loss_sum)
        if self.state.step % self.parts.plan.batches_per_epoch and self.state.step < self.parts.total_steps:
            # A longer run goes on with an epoch that was cut short and validated: it gets its line anew.
            self.state.epochs_done = self.state.step // self.parts.plan.batches_per_epoch
        self.run.drop_after(self.state.epochs_done)

    def train(self) -> None:
        """Run to the end.

        Raises:
            Interrupted: If a signal asked to stop; the state was saved.
            TrainingError: If the loss is not finite.
        """
        parts, state = self.parts, self.state
        epochs = math.ceil(parts.total_steps / parts.plan.batches_per_epoch)
        loader = train_loader(
            parts.source,
            "train",
            parts.transform,
            parts.plan,
            seed=parts.recipe.train.seed,
            start=state.step,
            stop=parts.total_steps,
            workers=parts.workers,
            pin_memory=parts.device.type == "cuda",
        )
        with show_progress(total=parts.total_steps, done=state.step, epochs=epochs) as display:
            if self._epoch_is_over() and state.epochs_done < math.ceil(state.step / parts.plan.batches_per_epoch):
                self._finish_epoch(display)
            self._clock = time.perf_counter()
            for batch in loader:
                self._train_step(batch)
                display.advance()
                if self._epoch_is_over():
                    self._finish_epoch(display)
                elif self.stop or self._checkpoint_is_due():
                    self._refuse_bad_state()
                    self._count_seconds()
                    self._save()
                if self.stop:
                    self._leave()

    def describe_step(self) -> str:
        """Return the step at hand with its samples, for messages."""
        return self._describe(self.state.step)

    def load_best(self) -> None:
        """Put the best weights into the model."""
        self.parts.model.load_state_dict(read_checkpoint(self.run.checkpoints / BEST)["model"])

    def _train_step(self, batch: Batch) -> None:
        parts, state, train = self.parts, self.state, self.parts.recipe.train
        if state.step % parts.plan.batches_per_epoch == 0:
            self._loss_sum.zero_()
            state.loss_steps = 0
        torch.manual_seed(derive_seed(train.seed, "step", state.step))
        set_learning_rate(
            parts.optimizer,
            learning_rate(
                parts.recipe.scheduler,
                parts.recipe.optimizer.lr,
                step=state.step,
                steps_per_epoch=parts.plan.batches_per_epoch,
                total_steps=parts.total_steps,
            ),
        )
        parts.model.train()
        target = batch.masks.to(parts.device, non_blocking=True).long()
        loss: Tensor = parts.loss(parts.predictor.logits(batch.images), target)
        parts.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if train.grad_clip is not None:
            nn.utils.clip_grad_norm_(parts.model.parameters(), train.grad_clip)
        parts.optimizer.step()
        self._watch(loss.detach())
        state.step += 1
        state.loss_steps += 1
        state.epoch_images += len(batch.names)
        if state.step % CHECK_LOSS_EVERY == 0:
            self._refuse_bad_loss()

    def _watch(self, loss: Tensor) -> None:
        """Add up the loss and remember the first step at which it was not finite."""
        self._loss_sum += loss
        bad = ~torch.isfinite(loss) & (self._first_bad < 0)
        self._first_bad = torch.where(bad, self.state.step, self._first_bad)

    def _refuse_bad_loss(self) -> None:
        step = int(self._first_bad)
        if step >= 0:
            raise TrainingError(
                f"the loss is not finite {self._describe(step)}. The last good checkpoint is kept. "
                "Lower optimizer.lr, set train.grad_clip, or use train.precision 'fp32'"
            )

    def _refuse_bad_state(self) -> None:
        """Stop before weights that are not finite can replace good ones."""
        self._refuse_bad_loss()
        tensors = itertools.chain(self.parts.model.parameters(), self.parts.model.buffers())
        finite = torch.stack([torch.isfinite(tensor).all() for tensor in tensors if tensor.is_floating_point()])
        if not bool(finite.all()):
            raise TrainingError(
                f"the weights are not finite any more {self._describe(self.state.step - 1)}. The last good checkpoint "
                "is kept. Lower optimizer.lr, or set train.grad_clip"
            )

    def _describe(self, step: int) -> str:
        samples = self.parts.source.splits["train"]
        keys = self.parts.plan.keys(step)
        names = ", ".join(samples[index].name for _, index in keys)
        return f"at step {step + 1} (epoch {keys[0][0] + 1}; samples {names})"

    def _epoch_is_over(self) -> bool:
        step = self.state.step
        return step > 0 and (step % self.parts.plan.batches_per_epoch == 0 or step == self.parts.total_steps)

    def _checkpoint_is_due(self) -> bool:
        every = self.parts.recipe.train.checkpoint_every_steps
        return every is not None and self.state.step % every == 0

    def _finish_epoch(self, display: Display) -> None:
        """Validate, write the epoch's line, keep the best weights, save."""
        self._refuse_bad_state()
        self._count_seconds()
        epoch = math.ceil(self.state.step / self.parts.plan.batches_per_epoch)
        try:
            score = self._validate(epoch)
        except Stopped:
            self._save()  # the epoch is validated when the run goes on
            self._leave()
        row = epoch_row(
            score,
            names=self.parts.names,
            epoch=epoch,
            step=self.state.step,
            train_loss=float(self._loss_sum) / max(self.state.loss_steps, 1),
            lr=learning_rates(self.parts.optimizer),
            images=self.state.epoch_images,
            seconds=self.state.epoch_seconds,
        )
        self.state.epochs_done = epoch
        self.state.train_seconds += self.state.epoch_seconds
        self.state.epoch_images, self.state.epoch_seconds = 0, 0.0
        best = score is not None and self._is_best(row)
        if score is not None:
            write_frame(self.run.frames, epoch, score.predictions, self.parts.palette)
            if best:
                self.state.best = {"row": row, "matrix": score.matrix, "images": score.images}
                write_best(self.parts, self.run.model, row, score, self.environment)
        self.run.append_row(row)
        self._save(best=best)
        display.epoch(row)
        self._clock = time.perf_counter()

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.state.epoch_seconds += now - self._clock
        self._clock = now

    def _validate(self, epoch: int) -> Evaluation | None:
        if epoch % self.parts.recipe.eval.every_epochs and self.state.step < self.parts.total_steps:
            return None
        return self.evaluate(keep=PREVIEWS)

    def evaluate(self, *, keep: int, detail: bool = False) -> Evaluation:
        """Score the evaluation split with the weights at hand; with ``detail`` each image, and outlines, as well.

        Raises:
            Stopped: If a signal came.
        """
        parts, recipe = self.parts, self.parts.recipe
        batches = eval_loader(
            parts.source,
            recipe.eval.split,
            image_size=recipe.data.image_size,
            batch_size=recipe.eval.batch_size or recipe.train.batch_size,
            workers=parts.workers,
        )
        return evaluate(
            parts.predictor,
            batches,
            num_classes=len(parts.source.classes),
            ignore_index=parts.source.ignore_index,
            loss=parts.loss,
            device=parts.device,
            keep=keep,
            detail=detail,
            should_stop=lambda: bool(self.stop),
        )

    def _is_best(self, row: dict[str, Any]) -> bool:
        best = self.state.best
        return best is None or (row["mean_iou"] or 0.0) > (best["row"]["mean_iou"] or 0.0)

    def _save(self, *, best: bool = False) -> None:
        self.state.loss_sum = float(self._loss_sum)
        state = {
            "model": self.parts.model.state_dict(),
            "optimizer": self.parts.optimizer.state_dict(),
            "state": dict(vars(self.state)),
            "environment": self.environment,
        }
        save_checkpoint(self.run.checkpoints, state, best=best)

    def _leave(self) -> None:
        signum = self.stop.signum
        if signum is not None:
            raise Interrupted(
                signum,
                f"stopped by a signal after step {self.state.step}; the state is saved, "
                f"go on with: segzoo finetune {self.run.recipe_path} --out {self.run.folder} --resume",
            )
