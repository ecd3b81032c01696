"""``finetune --dry-run``: everything that can be said without training."""

from __future__ import annotations

import logging

from segzoo.errors import MissingDataError
from segzoo.recipe import Recipe
from segzoo.recipe.consistency import check_class_weights
from segzoo.recipe.data import Fetched

logger = logging.getLogger(__name__)


def check_run(recipe: Recipe, *, device: str = "auto") -> int:
    """Build a resolved recipe's model and pipeline without weights or training, and return the parameter count.

    Data that is not there is warned of; its files are not decoded.

    Raises:
        SegzooError: If the model or the augmentation cannot be built, the device is not there, or the data is there
            and files lack their partners.
    """
    from segzoo.build import build_from_spec
    from segzoo.data.classes import classes_of
    from segzoo.data.opening import open_source
    from segzoo.data.transforms import build_augmentation
    from segzoo.params import validate_params
    from segzoo.plugins import get_spec
    from segzoo.runtime.device import choose_device
    from segzoo.training.preflight import warn_of_random_features

    choose_device(device)
    warn_of_random_features(recipe)
    spec = get_spec(recipe.model.name)
    params = validate_params(spec, recipe.model.params)
    classes = classes_of(recipe.data)
    check_class_weights(recipe, len(classes))
    build_augmentation(recipe.augment, ignore_index=recipe.data.ignore_index, image_size=recipe.data.image_size)
    # Some encoders cannot be built on the meta device, all can be moved there.
    model = build_from_spec(spec, params, num_classes=len(classes), in_channels=recipe.model.in_channels).to("meta")
    offline = {"download": False} if isinstance(recipe.data, Fetched) else {}
    try:
        data = recipe.data.model_copy(update=offline)
        open_source(data, seed=recipe.train.seed, in_channels=recipe.model.in_channels)
    except MissingDataError as error:
        logger.warning("the data is not there yet: %s", error)
    return sum(parameter.numel() for parameter in model.parameters())
