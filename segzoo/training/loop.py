"""The training loop: plain torch, exact to the bit wherever it is stopped.

Every draw comes from the seed and the step, never from what ran before: the order of an epoch and the augmentation of
a sample from (seed, epoch, sample), everything that torch draws inside a step (dropout) from (seed, step). What a
resumed run needs is therefore the model, the optimizer and a few counters.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor

from segzoo.data.draws import derive_seed
from segzoo.errors import Interrupted, TrainingError
from segzoo.recipe.schema import Plateau
from segzoo.runs.checkpoint import BEST, read_checkpoint, save_checkpoint
from segzoo.runs.rundir import RunDirectory
from segzoo.runs.tensorboard import Events, open_events
from segzoo.runtime.distributed import ALONE, World
from segzoo.runtime.signals import StopRequest
from segzoo.scoring.evaluation import Evaluation, Stopped, score_split
from segzoo.training.epoch import PREVIEWS, epoch_row, pace, write_best, write_frame
from segzoo.training.freezing import Freezer
from segzoo.training.graph_step import GraphStep
from segzoo.training.optimizers import learning_rates, restore_optimizer, set_learning_rate
from segzoo.training.parts import Parts
from segzoo.training.progress import Display, Pace, show_progress
from segzoo.training.schedules import count_drops, learning_rate
from segzoo.training.state import State
from segzoo.training.step import Trainable, TrainStep
from segzoo.training.stopping import has_stalled
from segzoo.training.supply import Supply
from segzoo.training.watch import CHECK_EVERY, LossWatch, Mark, weights_are_finite

NAMED = 64
"""How many samples of a step a message lists."""


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
        self._supply = Supply(parts, world)
        self._watch = LossWatch(parts.device)
        self._step = self._new_step()
        self._signum: int | None = None
        self._clock = time.perf_counter()
        self._shown_loss: float | None = None
        self._scoring = False

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""
        self.parts.model.load_state_dict(saved["model"])
        restore_optimizer(self.parts.optimizer, saved["optimizer"])
        self.parts.scaler.load_state_dict(saved["scaler"])
        if self.parts.average is not None:
            self.parts.average.model.load_state_dict(saved["average"])
        self.freezer.digests = saved["frozen"]
        self.state = State(**saved["state"])
        self._watch.reset(self.state.loss_sum)
        if self.state.step % self.parts.plan.steps_per_epoch and self.state.step < self.parts.total_steps:
            # A longer run goes on with an epoch that was cut short and validated: it gets its line anew.
            self.state.epochs_done = self.state.step // self.parts.plan.steps_per_epoch
        if self.world.first:
            self.run.drop_after(self.state.epochs_done)

    def train(self) -> None:
        """Run to the end.

        Raises:
            Interrupted: If a signal asked to stop; the state was saved.
            TrainingError: If the loss is not finite.
        """
        parts, state = self.parts, self.state
        epochs = math.ceil(parts.total_steps / parts.plan.steps_per_epoch)
        self._begin_epoch()
        self._keep_features()
        loader = self._supply.training(state.step)
        with (
            show_progress(
                total=parts.total_steps, done=state.step, epochs=epochs, bar_wanted=self.world.first
            ) as display,
            self._events() as events,
        ):
            if self._epoch_is_over() and state.epochs_done < math.ceil(state.step / parts.plan.steps_per_epoch):
                self._finish_epoch(display, events)
            self._clock = time.perf_counter()
            for batches in self._groups(loader):
                if self._has_stalled():
                    break
                self._train_step(batches)
                self.stop.after_step()
                display.advance(self._pace())
                if self._epoch_is_over():
                    self._finish_epoch(display, events)
                    self._hear()
                elif self._hear() or self._checkpoint_is_due():
                    self._refuse_bad_state(weights_are_finite(parts.model))
                    self._count_seconds(time.perf_counter())
                    self._save()
                self._leave()
            self.leave()  # a signal that came after the last step

    def describe_step(self) -> str:
        """Return the step at hand with its samples, or the validation, for messages."""
        if self._scoring:
            return f"in the validation after step {self.state.step}"
        return self._describe(self.state.step)

    def load_best(self) -> None:
        """Put the best weights into the model that is scored."""
        if self.world.first:
            saved = read_checkpoint(self.run.checkpoints / BEST)
            self.parts.scored.load_state_dict(saved["average" if self.parts.average is not None else "model"])
        self.world.share(chain(self.parts.scored.parameters(), self.parts.scored.buffers()))

    def _train_step(self, batches: list[Trainable]) -> None:
        parts, state = self.parts, self.state
        if state.step % parts.plan.steps_per_epoch == 0:
            self._watch.reset()
            state.loss_steps = 0
            self._begin_epoch()
        # Each process drops out other values of its share.
        torch.manual_seed(derive_seed(parts.recipe.train.seed, "step", state.step) + self.world.rank)
        set_learning_rate(parts.optimizer, self._learning_rate())
        self._watch.add(self._step(batches), state.step)
        state.epoch_images += len(parts.plan.keys(state.step))
        state.step += 1
        state.loss_steps += 1
        if state.step % CHECK_EVERY == 0:
            self._refuse_bad_loss()
        if state.step % CHECK_EVERY == 0 or parts.device.type == "cpu":  # where reading it waits for nothing
            self._shown_loss = self._watch.total / state.loss_steps

    def _events(self) -> AbstractContextManager[Events]:
        return open_events(self.run.tensorboard, self.run.rows()) if self.world.first else nullcontext(Events(None))

    def _keep_features(self) -> None:
        try:
            self._supply.keep_features(self.run.folder, self._hear)
        except Stopped:
            self._leave()

    def _begin_epoch(self) -> None:
        """Freeze and thaw what the epoch of the next step asks for."""
        if self.freezer.begin_epoch(self.state.step // self.parts.plan.steps_per_epoch + 1):
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
            steps_per_epoch=self.parts.plan.steps_per_epoch,
            total_steps=self.parts.total_steps,
            drops=count_drops(scores, schedule.patience) if isinstance(schedule, Plateau) else 0,
        )

    def _has_stalled(self) -> bool:
        rule = self.parts.recipe.train.early_stopping
        return rule is not None and has_stalled(rule, self.state.history)

    def _refuse_bad_loss(self) -> None:
        step = self._watch.first_bad
        if step is not None:
            raise TrainingError(
                f"the loss is not finite {self._describe(step)}. The last good checkpoint is kept. "
                "Lower optimizer.lr, set train.grad_clip, or use train.precision 'fp32'"
            )

    def _refuse_bad_state(self, finite: Tensor) -> None:
        """Stop before weights that are not finite can replace good ones; reading the flag waits for the device."""
        self._refuse_bad_loss()
        if not finite:
            raise TrainingError(
                f"the weights are not finite any more {self._describe(self.state.step - 1)}. The last good checkpoint "
                "is kept. Lower optimizer.lr, or set train.grad_clip"
            )

    def _describe(self, step: int) -> str:
        samples = self.parts.source.splits["train"]
        keys = self.parts.plan.keys(step)
        names = ", ".join(samples[index].name for _, index in keys[:NAMED])
        names += f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
        return f"at step {step + 1} (epoch {step // self.parts.plan.steps_per_epoch + 1}; samples {names})"

    def _epoch_is_over(self) -> bool:
        step = self.state.step
        return step > 0 and (step % self.parts.plan.steps_per_epoch == 0 or step == self.parts.total_steps)

    def _checkpoint_is_due(self) -> bool:
        every = self.parts.recipe.train.checkpoint_every_steps
        return every is not None and self.state.step % every == 0

    def _finish_epoch(self, display: Display, events: Events) -> None:
        """Validate, write the epoch's line, keep the best weights, save."""
        # The device checks and marks the end while it is given the validation; nothing is written before both are read.
        finite, end = weights_are_finite(self.parts.model), Mark(self.parts.device)
        self.freezer.audit()
        epoch = math.ceil(self.state.step / self.parts.plan.steps_per_epoch)
        try:
            score = self._validate(epoch)
        except Stopped:
            self._refuse_bad_state(finite)
            self._count_seconds(end.time())
            self._save()  # the epoch is validated when the run goes on
            self.leave()
        self._refuse_bad_state(finite)
        self._count_seconds(end.time())
        row = epoch_row(
            score,
            names=self.parts.names,
            epoch=epoch,
            step=self.state.step,
            train_loss=self._watch.total / max(self.state.loss_steps, 1),
            lr=learning_rates(self.parts.optimizer),
            images=self.state.epoch_images,
            seconds=self.state.epoch_seconds,
            waited=self.state.epoch_wait,
        )
        self.state.epochs_done = epoch
        self.state.train_seconds += self.state.epoch_seconds
        self.state.epoch_images, self.state.epoch_seconds, self.state.epoch_wait = 0, 0.0, 0.0
        best = score is not None and self._is_best(row)
        if score is not None:
            self.state.history.append({key: row[key] for key in ("mean_iou", "val_loss")})
            if best:
                self.state.best = {"row": row, "matrix": score.matrix, "images": score.images}
        if self.world.first:
            self._write_epoch(row, score, best=best)
        self._save(best=best)
        display.epoch(row)
        events.epoch(row)
        self._clock = time.perf_counter()

    def _groups(self, loader: Iterable[Trainable]) -> Iterator[list[Trainable]]:
        """Yield the batches of each step, and count how long they let the training wait."""
        batches = iter(loader)
        while True:
            asked = time.perf_counter()
            group = list(islice(batches, self.parts.plan.batches_per_step))
            self.state.epoch_wait += time.perf_counter() - asked
            if not group:
                return
            yield group

    def _pace(self) -> Pace:
        """Return how the epoch goes so far, without a look at the device."""
        seconds = self.state.epoch_seconds + time.perf_counter() - self._clock
        return Pace(self._shown_loss, *pace(self.state.epoch_images, seconds, self.state.epoch_wait))

    def _write_epoch(self, row: dict[str, Any], score: Evaluation | None, *, best: bool) -> None:
        if score is not None:
            write_frame(self.run.frames, row["epoch"], score.predictions, self.parts.palette)
            if best:
                write_best(self.parts, self.run.model, row, score, self.environment)
        self.run.append_row(row)

    def _count_seconds(self, now: float) -> None:
        self.state.epoch_seconds += now - self._clock
        self._clock = now

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
            num_classes=len(parts.source.classes),
            ignore_index=parts.source.ignore_index,
            loss=parts.loss,
            device=parts.device,
            keep=len(range(world.rank, keep, world.size)),
            detail=detail,
            should_stop=self._hear,
            world=world,
        )
        self._scoring = False
        return score

    def _is_best(self, row: dict[str, Any]) -> bool:
        best = self.state.best
        return best is None or (row["mean_iou"] or 0.0) > (best["row"]["mean_iou"] or 0.0)

    def _save(self, *, best: bool = False) -> None:
        if not self.world.first:
            return
        self.state.loss_sum = self._watch.total
        state = {
            "model": self.parts.model.state_dict(),
            "optimizer": self.parts.optimizer.state_dict(),
            "scaler": self.parts.scaler.state_dict(),
            "average": self.parts.average.model.state_dict() if self.parts.average is not None else None,
            "frozen": self.freezer.digests,
            "state": dict(vars(self.state)),
            "environment": self.environment,
        }
        save_checkpoint(self.run.checkpoints, state, best=best)

    def _hear(self) -> bool:
        """Ask whether a signal has reached any process: all ask at the same places, and hear the same."""
        self._signum = self.world.agree(self.stop.signum)
        return self._signum is not None

    def leave(self) -> None:
        """End the run by the name of the signal that asked for it, if one did; the state has to be saved."""
        self._hear()
        self._leave()

    def _leave(self) -> None:
        signum = self._signum
        if signum is not None:
            self.world.wait()  # one that ends early would have the launcher end the one that saves
            command = "segzoo" if self.world.size == 1 else "torchrun … -m segzoo"
            raise Interrupted(
                signum,
                f"stopped by a signal after step {self.state.step}; the state is saved, "
                f"go on with: {command} finetune {self.run.recipe_path} --out {self.run.folder} --resume",
            )
