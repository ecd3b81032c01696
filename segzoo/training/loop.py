"""The training loop: plain torch, exact to the bit wherever it is stopped.

Every draw comes from the seed and the step, never from what ran before: the order of an epoch and the augmentation of
a sample from (seed, epoch, sample), everything that torch draws inside a step (dropout) from (seed, step). What a
resumed run needs is therefore the model, the optimizer and a few counters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from segzoo.data.draws import derive_seed
from segzoo.recipe.schema import Plateau
from segzoo.runs.rundir import RunDirectory
from segzoo.runs.tensorboard import Events, open_events
from segzoo.runtime.distributed import ALONE, World
from segzoo.runtime.signals import StopRequest
from segzoo.scoring.evaluation import Evaluation, Stopped, score_split
from segzoo.training.agreement import AgreedStop
from segzoo.training.epoch import PREVIEWS, epoch_row, write_best, write_frame
from segzoo.training.epoch_clock import EpochClock
from segzoo.training.freezing import Freezer
from segzoo.training.guard import Guard, name_step
from segzoo.training.parts import Parts
from segzoo.training.progress import Display, show_progress
from segzoo.training.saving import Saving
from segzoo.training.state import State
from segzoo.training.steps.graph_step import GraphStep
from segzoo.training.steps.optimizers import learning_rates, set_learning_rate
from segzoo.training.steps.schedules import count_drops, learning_rate
from segzoo.training.steps.step import Trainable, TrainStep
from segzoo.training.stopping import has_stalled
from segzoo.training.supply import Supply
from segzoo.training.watch import CHECK_EVERY, Mark, weights_are_finite


class Trainer:
    """Trains, validates and saves.

    Args:
        parts: The model and all that it is trained with.
        run: Where everything is written.
        stop: Set by a signal.
        environment: Device and thread count, for the checkpoint and the model's provenance.
        world: The processes of the run; the first one writes.
    """

    def __init__(
        self,
        parts: Parts,
        run: RunDirectory,
        stop: StopRequest,
        environment: dict[str, Any],
        world: World = ALONE,
    ) -> None:
        self.parts = parts
        self.run = run
        self.stop = stop
        self.environment = environment
        self.world = world
        self.state = State()
        self.freezer = Freezer(parts.model, parts.recipe.transfer, parts.cut)
        self.agreed = AgreedStop(stop, world, run, self.state)
        self._guard = Guard(parts)
        self.saving = Saving(parts, self.state, self.freezer, self._guard, run, environment, world)
        self._clock = EpochClock(self.state)
        self._supply = Supply(parts, world)
        self._step = self._new_step()
        self._shown_loss: float | None = None
        self._scoring = False

    def train(self) -> None:
        """Run to the end.

        Raises:
            Interrupted: If a signal asked to stop; the state was saved.
            TrainingError: If the loss is not finite.
        """
        parts, state = self.parts, self.state
        epochs = math.ceil(parts.total_steps / parts.data.plan.steps_per_epoch)
        self._begin_epoch()
        self._keep_features()
        loader = self._supply.training(state.step)
        with (
            show_progress(
                total=parts.total_steps, done=state.step, epochs=epochs, bar_wanted=self.world.first
            ) as display,
            self._events() as events,
        ):
            if self._epoch_is_over() and state.epochs_done < math.ceil(state.step / parts.data.plan.steps_per_epoch):
                self._finish_epoch(display, events)
            self._clock.start()
            for batches in self._clock.groups(loader, parts.data.plan.batches_per_step):
                if self._has_stalled():
                    break
                self._train_step(batches)
                self.stop.after_step()
                display.advance(self._clock.pace(self._shown_loss))
                if self._epoch_is_over():
                    self._finish_epoch(display, events)
                    self.agreed.check()
                elif self.agreed.check() or self._checkpoint_is_due():
                    self._guard.check(weights_are_finite(parts.model), state.step - 1)
                    self._clock.count()
                    self.saving.save()
                self.agreed.leave_if_agreed()
            self.agreed.leave_if_asked()  # a signal that came after the last step

    def describe_step(self) -> str:
        """Return the step at hand with its samples, or the validation, for messages."""
        if self._scoring:
            return f"in the validation after step {self.state.step}"
        return name_step(self.parts, self.state.step)

    def _train_step(self, batches: list[Trainable]) -> None:
        parts, state = self.parts, self.state
        if state.step % parts.data.plan.steps_per_epoch == 0:
            self._guard.reset()
            state.loss_steps = 0
            self._begin_epoch()
        # Each process drops out other values of its share.
        torch.manual_seed(derive_seed(parts.recipe.train.seed, "step", state.step) + self.world.rank)
        set_learning_rate(parts.optimizer, self._learning_rate())
        self._guard.add(self._step(batches), state.step)
        state.epoch_images += len(parts.data.plan.keys(state.step))
        state.step += 1
        state.loss_steps += 1
        if state.step % CHECK_EVERY == 0:
            self._guard.check_loss()
        if state.step % CHECK_EVERY == 0 or parts.device.type == "cpu":  # where reading it waits for nothing
            self._shown_loss = self._guard.total / state.loss_steps

    def _events(self) -> AbstractContextManager[Events]:
        return open_events(self.run.tensorboard, self.run.rows()) if self.world.first else nullcontext(Events(None))

    def _keep_features(self) -> None:
        try:
            self._supply.keep_features(self.run.folder, self.agreed.check)
        except Stopped:
            self.agreed.leave_if_agreed()

    def _begin_epoch(self) -> None:
        """Freeze and thaw what the epoch of the next step asks for."""
        if self.freezer.begin_epoch(self.state.step // self.parts.data.plan.steps_per_epoch + 1):
            self._step = self._new_step()

    def _new_step(self) -> Callable[[Sequence[Trainable]], Tensor]:
        parts = self.parts
        step = TrainStep(
            predictor=parts.predictor,
            loss=parts.loss,
            optimizer=parts.optimizer,
            scaler=parts.scaler,
            average=parts.average,
            grad_clip=parts.recipe.train.grad_clip,
            device=parts.device,
            world=self.world,
        )
        return GraphStep(step) if parts.recipe.train.cuda_graph else step

    def _learning_rate(self) -> float:
        schedule = self.parts.recipe.scheduler
        scores = [scores["mean_iou"] for scores in self.state.history]
        return learning_rate(
            schedule,
            self.parts.recipe.optimizer.lr,
            step=self.state.step,
            steps_per_epoch=self.parts.data.plan.steps_per_epoch,
            total_steps=self.parts.total_steps,
            drops=count_drops(scores, schedule.patience) if isinstance(schedule, Plateau) else 0,
        )

    def _has_stalled(self) -> bool:
        rule = self.parts.recipe.train.early_stopping
        return rule is not None and has_stalled(rule, self.state.history)

    def _epoch_is_over(self) -> bool:
        step = self.state.step
        return step > 0 and (step % self.parts.data.plan.steps_per_epoch == 0 or step == self.parts.total_steps)

    def _checkpoint_is_due(self) -> bool:
        every = self.parts.recipe.train.checkpoint_every_steps
        return every is not None and self.state.step % every == 0

    def _finish_epoch(self, display: Display, events: Events) -> None:
        """Validate, write the epoch's line, keep the best weights, save."""
        # The device checks and marks the end while it is given the validation; nothing is written before both are read.
        finite, end = weights_are_finite(self.parts.model), Mark(self.parts.device)
        self.freezer.audit()
        epoch = math.ceil(self.state.step / self.parts.data.plan.steps_per_epoch)
        try:
            score = self._validate(epoch)
        except Stopped:
            self._guard.check(finite, self.state.step - 1)
            self._clock.count(end.time())
            self.saving.save()  # the epoch is validated when the run is resumed
            self.agreed.leave_if_asked()
        self._guard.check(finite, self.state.step - 1)
        self._clock.count(end.time())
        row = epoch_row(
            score,
            names=self.parts.names,
            epoch=epoch,
            step=self.state.step,
            train_loss=self._guard.total / max(self.state.loss_steps, 1),
            lr=learning_rates(self.parts.optimizer),
            images=self.state.epoch_images,
            seconds=self.state.epoch_seconds,
            waited=self.state.epoch_wait,
        )
        self.state.epochs_done = epoch
        self._clock.end_epoch()
        best = score is not None and self._is_best(row)
        if score is not None:
            self.state.history.append({key: row[key] for key in ("mean_iou", "val_loss")})
            if best:
                self.state.best = {"row": row, "matrix": score.matrix, "images": score.images}
        if self.world.first:
            self._write_epoch(row, score, best=best)
        self.saving.save(best=best)
        display.epoch(row)
        events.epoch(row)
        self._clock.start()

    def _write_epoch(self, row: dict[str, Any], score: Evaluation | None, *, best: bool) -> None:
        if score is not None:
            write_frame(self.run.frames, row["epoch"], score.predictions, self.parts.palette)
            if best:
                write_best(self.parts, self.run.model, row, score, self.environment)
        self.run.append_row(row)

    def _validate(self, epoch: int) -> Evaluation | None:
        if epoch % self.parts.recipe.eval.every_epochs and self.state.step < self.parts.total_steps:
            return None
        return self.score(keep=PREVIEWS)

    def score(self, *, keep: int, detail: bool = False) -> Evaluation:
        """Score the evaluation split with the weights at hand; with ``detail`` each image, and outlines, as well.

        Raises:
            Stopped: If a signal came.
        """
        parts, world = self.parts, self.world
        # The statistics of batch norms are the first process's, as they are in checkpoints.
        world.share(parts.scored.buffers())
        self._scoring = True
        score = score_split(
            parts.scorer,
            self._supply.evaluation(),
            num_classes=len(parts.data.source.classes),
            ignore_index=parts.data.source.ignore_index,
            loss=parts.loss,
            device=parts.device,
            keep=len(range(world.rank, keep, world.size)),
            detail=detail,
            should_stop=self.agreed.check,
            world=world,
        )
        self._scoring = False
        return score

    def _is_best(self, row: dict[str, Any]) -> bool:
        best = self.state.best
        return best is None or (row["mean_iou"] or 0.0) > (best["row"]["mean_iou"] or 0.0)
