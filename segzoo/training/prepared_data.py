"""The data of a run: opened, scanned, and dealt out to steps; whatever can be refused is refused here."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from segzoo.data.formats.files import after_scan
from segzoo.data.loading.plan import Plan
from segzoo.data.opening import open_source
from segzoo.data.scan import ScanReport, scan
from segzoo.data.source import Source
from segzoo.data.transforms import TrainTransform, build_augmentation
from segzoo.errors import DataError, RecipeError
from segzoo.recipe import Recipe
from segzoo.recipe.consistency import check_class_weights
from segzoo.recipe.data import FolderData
from segzoo.runtime.distributed import World

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedData:
    """What a run trains on and is scored on.

    Args:
        source: The samples of all splits.
        report: What the scan of the splits found.
        transform: The augmentation of training samples.
        plan: The samples of each step.
    """

    source: Source
    report: ScanReport
    transform: TrainTransform
    plan: Plan


def prepare_data(recipe: Recipe, world: World) -> PreparedData:
    """Open the data, read every file once, and plan the steps.

    Args:
        recipe: The resolved recipe.
        world: The processes of the run; the first one fetches and scans before the others.

    Raises:
        DataError: If files are missing or damaged, or nothing can be learned from the labels.
        RecipeError: If the recipe does not fit the data.
    """
    with world.in_turn():
        source = open_source(recipe.data, seed=recipe.train.seed, in_channels=recipe.model.in_channels)
    transform = build_augmentation(recipe.augment, ignore_index=source.ignore_index, image_size=recipe.data.image_size)
    check_class_weights(recipe, len(source.classes))
    splits = list(dict.fromkeys(("train", recipe.eval.split)))
    with world.in_turn():
        report = scan(source, splits, num_classes=len(source.classes))
    source = after_scan(source)
    _check_classes_occur(recipe, source, report)
    plan = Plan(
        len(source.splits["train"]),
        recipe.train.batch_size,
        recipe.train.seed,
        recipe.train.accumulate,
        views=_views(recipe),
        process=world.rank,
        processes=world.size,
    )
    _check_share(plan)
    return PreparedData(source, report, transform, plan)


def warn_of_odd_settings(recipe: Recipe, plan: Plan, device: torch.device) -> None:
    """Warn of settings that are valid and seldom meant."""
    train = recipe.train
    if plan.num_samples < train.batch_size * train.accumulate:
        logger.warning(
            "the %d training images are fewer than a step of train.batch_size %d times train.accumulate %d: an epoch "
            "is one step of all of them",
            plan.num_samples,
            train.batch_size,
            train.accumulate,
        )
    epochs = train.epochs
    if train.max_steps is not None:
        epochs = min(epochs, -(-train.max_steps // plan.steps_per_epoch))
    unfreeze = recipe.transfer.unfreeze_encoder_at
    if unfreeze is not None and unfreeze > epochs:
        logger.warning(
            "transfer.unfreeze_encoder_at %d comes after the last epoch, %d: the encoder stays frozen", unfreeze, epochs
        )
    if device.type == "cpu" and train.precision != "fp32":
        logger.warning(
            "train.precision %r is slow on most CPUs, which have no arithmetic for it; --set train.precision=fp32",
            train.precision,
        )


def _views(recipe: Recipe) -> int | None:
    """Return how many augmentations of a sample there are: without any, all epochs see the same one."""
    return recipe.transfer.views or (1 if recipe.transfer.cache != "none" else None)


def _check_classes_occur(recipe: Recipe, source: Source, report: ScanReport) -> None:
    """Warn of classes that no training mask holds, and refuse data with a single class: it teaches nothing."""
    pixels, ignored = report.class_pixels["train"], report.ignored_pixels["train"]
    absent = [entry.name for entry, count in zip(source.classes, pixels, strict=True) if not count]
    if not absent:
        return
    hint = f"; {ignored:,} pixels hold the ignored label {source.ignore_index}" if ignored else ""
    told = f"no training mask holds {', '.join(map(repr, absent))}{hint}"
    if len(absent) < len(source.classes) - 1:
        logger.warning("%s", told)
        return
    binary = isinstance(recipe.data, FolderData) and recipe.data.mask_mode != "binary" and len(source.classes) == 2
    raise DataError(told + (". For masks of 0 and 255 set data.mask_mode to 'binary'" if binary else ""))


def _check_share(plan: Plan) -> None:
    """Refuse a batch, such as the only one of a small split, in which a process would have no sample."""
    smallest = min(map(len, plan.batches(0)))
    if smallest < plan.processes:
        raise RecipeError(
            f"the {plan.num_samples} training samples make a batch of {smallest}, of which {plan.processes} processes "
            "cannot all have a share; start fewer processes, or change train.batch_size"
        )
