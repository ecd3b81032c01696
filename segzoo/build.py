"""From a name to a network."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

from pydantic import BaseModel
from torch import nn

from segzoo.errors import PluginError
from segzoo.nn.conv import check_channels
from segzoo.plugins import default_registry
from segzoo.registry import check_weights, validate_params
from segzoo.spec import ModelSpec
from segzoo.weights import load_pretrained

logger = logging.getLogger(__name__)


def create_model(
    name: str, *, num_classes: int, in_channels: int = 3, weights: str | None = None, **params: object
) -> nn.Module:
    """Build a model by its name.

    Everything that can be checked without the model's code is checked before that code is imported.

    Args:
        name: An id, such as ``"segzoo/segnet"``, a bare name or an alias.
        num_classes: Channels of the logits, background included.
        in_channels: Channels of the image.
        weights: ``None`` for random weights, or a tag of the model's spec, such as ``"imagenet"``.
        **params: The model's own parameters, as its spec declares them.

    Returns:
        A module that maps ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``.

    Raises:
        UnknownName: If there is no such model or weight tag; the nearest names are suggested.
        ParamsError: If a parameter is unknown or wrong.
        ValueError: If ``num_classes`` or ``in_channels`` is below 1.
        PluginError: If the model's code is at fault.
        DownloadError: If the weights cannot be fetched.
    """
    spec = default_registry().resolve(name).spec()
    checked = validate_params(spec, params)
    spec = spec.refined(checked)
    if weights is not None:
        check_weights(spec, weights)
    model = build_from_spec(spec, checked, num_classes=num_classes, in_channels=in_channels)
    if weights is not None:
        logger.info("%s", load_pretrained(model, spec, weights, in_channels=in_channels).summary())
    return model


def build_from_spec(spec: ModelSpec, params: BaseModel, *, num_classes: int, in_channels: int) -> nn.Module:
    """Import a spec's builder, call it, and check what comes back.

    Args:
        spec: The model's spec.
        params: Checked parameters, an instance of ``spec.params``.
        num_classes: Channels of the logits, background included.
        in_channels: Channels of the image.

    Raises:
        ValueError: If ``num_classes`` or ``in_channels`` is below 1.
        PluginError: If the builder cannot be imported, or does not return a module with ``encoder`` and ``head``.
    """
    check_channels(in_channels=in_channels, num_classes=num_classes)
    model = _builder(spec)(params, in_channels=in_channels, num_classes=num_classes)
    if not isinstance(model, nn.Module):
        raise PluginError(f"the builder {spec.builder} of {spec.name} returned no nn.Module but {type(model).__name__}")
    for part in ("encoder", "head"):
        if not isinstance(getattr(model, part, None), nn.Module):
            raise PluginError(f"the model {spec.name} built by {spec.builder} has no submodule {part!r}")
    return model


def _builder(spec: ModelSpec) -> Callable[..., object]:
    module, _, function = spec.builder.partition(":")
    try:
        builder: Callable[..., object] = getattr(importlib.import_module(module), function)
    except Exception as error:  # a plugin's module may raise anything while it is imported
        raise PluginError(
            f"the builder {spec.builder} of {spec.name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return builder
