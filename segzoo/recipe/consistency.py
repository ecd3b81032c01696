"""Keys that are valid each for itself and mean nothing together: refused, so that nothing is accepted and ignored."""

from __future__ import annotations

from collections.abc import Iterator

from segzoo.errors import RecipeError
from segzoo.recipe.schema import CrossEntropy, OneCycle, Recipe

FEATURE_STRATEGIES = ("feature_hook", "feature_identity")
USED_BY = {
    "unfreeze_encoder_at": ("finetune",),
    "encoder_lr_scale": ("scratch", "finetune"),
    "layer_decay": ("scratch", "finetune"),
    "tap": FEATURE_STRATEGIES,
    "views": FEATURE_STRATEGIES,
    "cache": FEATURE_STRATEGIES,
}
"""The strategies that look at each key of ``transfer``."""

FIXES_SIZE = frozenset(
    {"CenterCrop", "CropNonEmptyMaskIfExists", "RandomCrop", "RandomResizedCrop", "RandomSizedCrop", "Resize"}
)
"""Transforms that give images of one size."""


def check_consistency(recipe: Recipe) -> None:
    """Refuse keys that the rest of the recipe gives no meaning.

    Raises:
        RecipeError: One line for each, with its path, its value and the way out.
    """
    faults = list(_faults(recipe))
    if faults:
        raise RecipeError("\n".join(faults))


def check_class_weights(recipe: Recipe, num_classes: int) -> None:
    """Refuse lists of class weights of another length than there are classes.

    Raises:
        RecipeError: It names the path and both numbers.
    """
    faults = list(_weight_faults(recipe, num_classes))
    if faults:
        raise RecipeError("\n".join(faults))


def _weight_faults(recipe: Recipe, num_classes: int) -> Iterator[str]:
    for position, term in enumerate(recipe.loss):
        weights = term.class_weights if isinstance(term, CrossEntropy) else None
        if isinstance(weights, tuple) and len(weights) != num_classes:
            yield f"loss.{position}.class_weights has {len(weights)} numbers, but the data has {num_classes} classes"


def has_one_size(recipe: Recipe) -> bool:
    """Return whether all images that a recipe trains on have one size, whatever the data's sizes are."""
    return recipe.data.image_size is not None or any(
        entry.name in FIXES_SIZE and entry.p in (None, 1) for entry in recipe.augment
    )


def _faults(recipe: Recipe) -> Iterator[str]:
    transfer = recipe.transfer
    for key, strategies in USED_BY.items():
        value = getattr(transfer, key)
        if transfer.strategy not in strategies and value != type(transfer).model_fields[key].default:
            known = " or ".join(map(repr, strategies))
            yield f"transfer.{key} {value!r} means nothing to strategy {transfer.strategy!r}, only to {known}"
    yield from _feature_faults(recipe)
    if recipe.train.cuda_graph and not has_one_size(recipe):
        yield (
            "train.cuda_graph true records a step for images of one size, but data.image_size is null and augment does "
            "not crop; set data.image_size, or set train.cuda_graph to false"
        )
    named = getattr(recipe.data, "classes", None)
    if named:
        yield from _weight_faults(recipe, len(named))
    schedule, base = recipe.scheduler, recipe.optimizer.lr
    if isinstance(schedule, OneCycle) and schedule.max_lr <= base:
        yield f"scheduler.max_lr {schedule.max_lr:g}: one cycle rises to it from optimizer.lr, which is {base:g}"


def _feature_faults(recipe: Recipe) -> Iterator[str]:
    transfer = recipe.transfer
    if transfer.strategy not in FEATURE_STRATEGIES:
        return
    if transfer.strategy == "feature_identity" and transfer.tap == "encoder":
        yield "transfer.tap 'encoder': 'feature_identity' replaces the head alone; use strategy 'feature_hook'"
    if transfer.views is not None and not recipe.augment:
        yield f"transfer.views {transfer.views} means nothing without augment, as all views would be the same"
    if transfer.cache != "none" and recipe.augment and transfer.views is None:
        yield (
            f"transfer.cache {transfer.cache!r}: augment draws anew in every epoch, so nothing could be kept; set "
            "transfer.views to a number of fixed augmentations of each image, or remove augment"
        )
    if transfer.cache != "none" and recipe.eval.window is not None:
        yield (
            f"eval.window {list(recipe.eval.window)}: transfer.cache {transfer.cache!r} keeps features of whole "
            "images; set one of them to its default"
        )
    if recipe.train.compile:
        yield f"train.compile true: {transfer.strategy!r} trains a head alone, which is not compiled"
    if recipe.train.cuda_graph:
        yield (
            f"train.cuda_graph true: {transfer.strategy!r} trains a head alone, which is not recorded as a graph; set "
            "it to false"
        )
