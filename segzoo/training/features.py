"""The two feature-extractor strategies: what of a model gives features, and which parts are new behind them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segzoo.errors import RecipeError
from segzoo.recipe.schema import TransferSection
from segzoo.transfer import Cut, CutBeforeHead, CutBehindTap

logger = logging.getLogger(__name__)


def build_cut(model: nn.Module, transfer: TransferSection) -> Cut | None:
    """Return where a recipe cuts the model in two; None where all of it runs in every step.

    Without ``transfer.tap`` the features are what the head is given: the decoder's, or the encoder's of a model without
    a decoder.

    Raises:
        RecipeError: If the model has no such part.
    """
    match transfer.strategy:
        case "feature_identity":
            return CutBeforeHead(model)
        case "feature_hook":
            has_decoder = hasattr(model, "decoder")
            if transfer.tap == "decoder" and not has_decoder:
                raise RecipeError(f"transfer.tap 'decoder': {type(model).__name__} has none; set it to 'encoder'")
            return CutBehindTap(model, transfer.tap or ("decoder" if has_decoder else "encoder"))
        case _:
            return None


def check_cut(cut: Cut, images: Tensor) -> None:
    """Refuse a model whose halves do not make up the whole.

    Args:
        cut: The model in two halves.
        images: Normalised images ``(N, C, H, W)`` of the size that is trained.

    Raises:
        RecipeError: It names the strategy and the way out.
    """
    if cut.is_whole(images):
        return
    name = type(cut.model).__name__
    height, width = images.shape[-2:]
    if isinstance(cut, CutBeforeHead):
        raise RecipeError(
            f"transfer.strategy 'feature_identity': at {height}x{width} pixels {name} does not return what its head "
            "returns, so a head behind it would not be the same; use 'feature_hook'"
        )
    raise RecipeError(
        f"transfer.strategy 'feature_hook': what comes behind the {cut.frozen[-1]} of {name} reads more than the "
        f"{cut.frozen[-1]}'s output; set transfer.tap to 'encoder'"
    )


def renew(model: nn.Module, cut: Cut, before: dict[str, Tensor]) -> None:
    """Give the parts that are trained the values they had before weights were loaded: a new head starts at random."""
    new = tuple(f"{part}." for part in cut.trained)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.startswith(new):
                tensor.copy_(before[name])


def warn_of_random_parts(cut: Cut, random: Sequence[str]) -> None:
    """Warn where what gives the features has random weights, as a decoder has whose weights hold an encoder alone.

    Args:
        cut: The model in two halves.
        random: Names of the tensors that the weights did not hold.
    """
    parts = [part for part in cut.frozen if any(name.startswith(f"{part}.") for name in random)]
    if parts:
        logger.warning(
            "the %s gives the features and stays at random weights: nothing in model.weights is for it. With strategy "
            "'feature_hook' set transfer.tap to 'encoder', or name weights of the whole model",
            " and the ".join(parts),
        )
