"""One run from its recipe to its report: build the parts, restore, train, draw."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import torch

from segzoo.errors import RunDirectoryError, TrainingError
from segzoo.recipe import Recipe
from segzoo.runs.checkpoint import load_checkpoint
from segzoo.runs.figures import draw_confusion, draw_curves, draw_samples, write_learning_gif
from segzoo.runs.model_folder import add_scores
from segzoo.runs.rundir import DataRecord, RunDirectory, RunRecord
from segzoo.runs.tensorboard import add_pictures
from segzoo.runtime.device import device_name, set_threads
from segzoo.runtime.distributed import ALONE, World
from segzoo.runtime.out_of_memory import explaining_memory, is_out_of_memory
from segzoo.runtime.signals import StopRequest
from segzoo.scoring.evaluation import Stopped
from segzoo.scoring.scores import describe_briefly, describe_scores
from segzoo.training.audit import audit_run
from segzoo.training.building import build_parts
from segzoo.training.epoch import passport_of
from segzoo.training.loop import Trainer
from segzoo.training.parts import shortage

logger = logging.getLogger(__name__)

SAMPLES = 6


def train_run(
    recipe: Recipe,
    run: RunDirectory,
    record: RunRecord,
    *,
    device: torch.device,
    overwrite: bool,
    stop: StopRequest,
    world: World = ALONE,
) -> None:
    """Train a resolved recipe in its run directory and draw its figures.

    Args:
        recipe: The resolved recipe.
        run: The locked run directory; it begins once nothing is left that could be refused.
        record: What is known of the run so far.
        device: Where this process trains.
        overwrite: Whether the run that was there is deleted.
        stop: Set by a signal.
        world: The processes of the run; the first one writes.

    Raises:
        SegzooError: Whatever is wrong with data, device, weights or training.
    """
    threads = set_threads(recipe.train.threads, processes=world.local_size)
    saved = None if overwrite else load_checkpoint(run.checkpoints)
    _check_all_resume(world, saved, run)
    parts, report = build_parts(recipe, device, resumed=None if saved is None else run.record(), world=world)
    environment = {"device": str(device), "threads": threads, "world_size": world.size}
    logger.info(
        "%s: %d training images, %d steps, on %s%s, into %s",
        recipe.model.name,
        report.images["train"],
        parts.total_steps,
        device_name(device),
        f" in {world.size} processes" if world.size > 1 else "",
        run.folder,
    )
    found = {
        "threads": threads,
        "workers": parts.workers,
        "device": str(device),
        "device_name": device_name(device),
        "world_size": world.size,
        "data": DataRecord(fingerprint=report.fingerprint, images=report.images),
        "parameters": sum(parameter.numel() for parameter in parts.model.parameters()),
        "weights": parts.built.pretrained,
        "first_batch": parts.built.first_batch,
    }
    world.wait()  # each of them may refuse its part
    if world.first:
        run.begin(recipe, record.model_copy(update=found), overwrite=overwrite)
        splits = parts.data.source.splits
        run.write_splits({split: [sample.name for sample in samples] for split, samples in splits.items()})
    with explaining_memory(lambda: shortage("before the first step", recipe, parts.data.plan)):
        trainer = Trainer(parts, run, stop, environment, world)
        if saved is not None:
            _announce(saved["environment"], environment)
            trainer.saving.restore(saved)
    if saved is not None:
        logger.info("resumed after step %d of %d", trainer.state.step, parts.total_steps)
    elif world.first:
        run.drop_after(0)
    stop.patient = True
    try:
        trainer.train()
        stop.patient = False  # nothing is left to be saved
        if world.first:
            run.update_record(train_seconds=round(trainer.state.train_seconds, 3))
        with suppress(Stopped):
            if world.first:
                run.update_record(audit=audit_run(trainer))
            draw_figures(trainer, run)
    except (RuntimeError, MemoryError) as error:
        lost = world.explain(error) if isinstance(error, RuntimeError) else None
        if lost is not None:
            raise lost from error
        reason = _explain(error, trainer, recipe)
        if reason is None:
            raise
        raise TrainingError(reason) from error
    trainer.agreed.leave_if_asked()  # by a signal that came when the last step was done


def draw_figures(trainer: Trainer, run: RunDirectory) -> None:
    """Draw curves, confusion matrix, samples and animation of a finished run, and score its best weights in detail."""
    source, recipe = trainer.parts.data.source, trainer.parts.recipe
    if not trainer.world.first:
        if trainer.state.best is not None:  # its share of what the first process scores and draws
            trainer.saving.load_best()
            trainer.score(keep=SAMPLES, detail=True)
        return
    draw_curves(run.figures / "curves.png", run.rows())
    if trainer.state.best is not None:
        draw_confusion(run.figures / "confusion.png", trainer.state.best["matrix"].numpy(), trainer.parts.names)
        trainer.saving.load_best()
        score = trainer.score(keep=SAMPLES, detail=True)
        if score.details is not None:
            found = describe_scores(score.details, trainer.parts.names)
            add_scores(run.model, found)
            passport = passport_of(trainer.parts, score.images)
            logger.info("best epoch: %s (%s)", describe_briefly(found), passport.line)
        pairs = [source.read(sample) for sample in source.splits[recipe.eval.split][:SAMPLES]]
        draw_samples(
            run.figures / "samples.png",
            [image for image, _ in pairs],
            [mask for _, mask in pairs],
            [prediction.numpy() for prediction in score.predictions],
            trainer.parts.palette,
            trainer.parts.names,
            source.ignore_index,
        )
        pictures = {name: run.figures / f"{name}.png" for name in ("samples", "confusion")}
        add_pictures(run.tensorboard, pictures, trainer.state.step)
    frames = sorted(run.frames.glob("*.png"))
    if frames:
        write_learning_gif(run.figures / "learning.gif", frames)


def _check_all_resume(world: World, saved: dict[str, Any] | None, run: RunDirectory) -> None:
    """Refuse to go on where the processes do not see one run directory."""
    steps = world.collect(None if saved is None else saved["state"]["step"])
    if len(set(steps)) > 1:
        raise RunDirectoryError(
            f"the processes find different checkpoints in {run.folder}, of the steps {', '.join(map(str, steps))}: "
            "it must lie on a file system that all machines of the run share"
        )


def _announce(before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [f"{key} {before[key]} -> {now[key]}" for key in now if before.get(key) != now[key]]
    if changed:
        logger.warning("resuming is not bit for bit: %s", ", ".join(changed))


def _explain(error: RuntimeError | MemoryError, trainer: Trainer, recipe: Recipe) -> str | None:
    """Return the error of a run in words, where it is of a kind that can be said."""
    if is_out_of_memory(error):
        return str(shortage(trainer.describe_step(), recipe, trainer.parts.data.plan))
    text = str(error)
    if "DataLoader" in text:
        return (
            f"a data worker died or hung {trainer.describe_step()}: {text.splitlines()[0]}; go on with --resume, "
            "--set train.workers=0 loads in the training process"
        )
    return None
