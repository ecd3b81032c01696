"""From what the user wrote to what will run: full ids, filled parameters, weights decided."""

from __future__ import annotations

from collections.abc import Iterable

from segzoo.environment import unmet_requirement
from segzoo.errors import MissingDistribution, NotAvailable, RecipeError
from segzoo.params import validate_params
from segzoo.pretrained import Identity, find_source
from segzoo.recipe.augment import check_augment
from segzoo.recipe.consistency import check_consistency
from segzoo.recipe.schema import Recipe
from segzoo.registry import Registry
from segzoo.spec import ModelSpec


def resolve_recipe(recipe: Recipe, registry: Registry) -> Recipe:
    """Return the recipe with the model's full id, all of its parameters and its weights written out.

    Args:
        recipe: A validated recipe.
        registry: Where the model's name is looked up.

    Raises:
        NotAvailable: If this version does not train such a model.
        UnknownModel: If there is no such model.
        ParamsError: If the model refuses a parameter.
        RecipeError: If parts of the recipe contradict each other or the model.
        UsageFault: If its weights are not there, or are those of another model.
        MissingDistribution: If a requirement is not met.
    """
    entry = registry.resolve(recipe.model.name)
    spec = entry.spec()
    check_requirements((*recipe.requires, *spec.requires))
    params = validate_params(spec, recipe.model.params, under="model.params")
    spec = spec.refined(params)
    _check_fit(recipe, spec)
    check_consistency(recipe)
    identity = Identity(entry.id, spec, params, recipe.model.in_channels)
    model = recipe.model.model_copy(
        update={"name": entry.id, "params": params.model_dump(mode="json"), "weights": _weights(recipe, identity)}
    )
    return recipe.model_copy(update={"model": model})


def resolve_without_weights(recipe: Recipe, registry: Registry) -> Recipe:
    """Resolve a recipe without looking for its weights, which a checkpoint may replace.

    Raises:
        SegzooError: As :func:`resolve_recipe` does, but not for weights that are missing or of another model.
    """
    if recipe.model.weights is None:
        return resolve_recipe(recipe, registry)
    resolved = resolve_recipe(_with_weights(recipe, None), registry)
    return _with_weights(resolved, recipe.model.weights)


def _with_weights(recipe: Recipe, weights: str | None) -> Recipe:
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": weights})})


def check_requirements(requirements: Iterable[str]) -> None:
    """Refuse requirement strings that the installed packages do not meet.

    Raises:
        RecipeError: If a string is not a requirement.
        MissingDistribution: If a package is missing or of another version; the message holds the pip command.
    """
    for text in requirements:
        try:
            reason = unmet_requirement(text)
        except ValueError as error:
            raise RecipeError(f"requires: {text!r} is not a requirement: {str(error).splitlines()[0]}") from None
        if reason is not None:
            raise MissingDistribution(reason)


def _weights(recipe: Recipe, identity: Identity) -> str | None:
    scratch = recipe.transfer.strategy == "scratch"
    if "weights" not in recipe.model.model_fields_set:
        return None if scratch else identity.spec.default_weights
    weights = recipe.model.weights
    if weights is None:
        return None
    if scratch:
        raise RecipeError(
            f"transfer.strategy 'scratch' starts from random weights, but model.weights is {weights!r}; "
            "set model.weights to null, or the strategy to 'finetune'"
        )
    find_source(identity, weights)  # raises what can be told without torch and without a network
    return weights


def _check_fit(recipe: Recipe, spec: ModelSpec) -> None:
    check_augment(recipe.augment, in_channels=recipe.model.in_channels)
    size = recipe.data.image_size
    if size is not None and min(size) < spec.input.min_size:
        raise RecipeError(
            f"data.image_size {list(size)} is below the {spec.input.min_size} pixels that {spec.name} needs"
        )
    window = recipe.eval.window
    if window is not None and min(window) < spec.input.min_size:
        raise RecipeError(
            f"eval.window {list(window)} is below the {spec.input.min_size} pixels that {spec.name} needs"
        )
    if spec.input.margin:
        raise NotAvailable(
            f"training {spec.name} without padding, whose logits lack {spec.input.margin} pixels a side,"
        )
    if spec.aux:
        raise NotAvailable(f"training {spec.name}, which has auxiliary outputs ({', '.join(spec.aux)}),")
    if recipe.train.aux_weight is not None:
        raise RecipeError(f"train.aux_weight is set, but {spec.name} has no auxiliary output; leave it out")
