"""From a name to a network."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
from collections.abc import Callable, Mapping

from pydantic import BaseModel
from torch import nn

from segzoo.errors import ParamsError, PluginError, SegzooError, did_you_mean, fault_text
from segzoo.nn.conv import check_channels
from segzoo.plugins import default_registry, stdout_to_stderr
from segzoo.pretrained import Identity, find_source
from segzoo.registry import validate_params
from segzoo.spec import ModelSpec
from segzoo.weights import load_pretrained

logger = logging.getLogger(__name__)

ARGUMENTS = ("num_classes", "in_channels", "weights")
"""What :func:`create_model` takes beside a model's own parameters."""


def create_model(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    weights: str | os.PathLike[str] | None = None,
    **params: object,
) -> nn.Module:
    """Build a model by its name.

    Everything that can be checked without the model's code is checked before that code is imported.

    Args:
        name: An id, such as ``"segzoo/segnet"``, a bare name or an alias.
        num_classes: Channels of the logits, background included.
        in_channels: Channels of the image.
        weights: ``None`` for random weights; a tag of the model's spec, such as ``"imagenet"``; a ``.safetensors``,
            ``.pth`` or ``.pt`` file; a run directory; or ``"hf-hub:owner/name"``, perhaps with ``@revision``. A head of
            another number of classes starts at random.
        **params: The model's own parameters, as its spec declares them.

    Returns:
        A module that maps ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``.

    Raises:
        UnknownName: If there is no such model; the nearest names are suggested.
        UsageFault: If there is no such weight tag, or a weights file or run cannot be read or holds another model.
        ParamsError: If a parameter is unknown or wrong.
        ValueError: If ``num_classes`` or ``in_channels`` is below 1.
        PluginError: If the model's code is at fault.
        DownloadError: If the weights cannot be fetched, or what was fetched cannot be read or does not fit.
    """
    entry = default_registry().resolve(name)
    spec = entry.spec()
    _refuse_misspelt_arguments(spec, params)
    checked = validate_params(spec, params)
    spec = spec.refined(checked)
    identity = Identity(entry.id, spec, checked, in_channels)
    if weights is None:
        return build_from_spec(spec, checked, num_classes=num_classes, in_channels=in_channels)
    source = os.fspath(weights)
    find_source(identity, source)  # raises what can be told at once
    model = build_from_spec(spec, checked, num_classes=num_classes, in_channels=in_channels)
    report = load_pretrained(model, identity, source)
    # A head that starts at random although the file has one is worth a word to whoever listens to nothing else.
    logger.log(logging.WARNING if report.head else logging.INFO, "%s", report.summary())
    return model


def _refuse_misspelt_arguments(spec: ModelSpec, params: Mapping[str, object]) -> None:
    """Refuse what is no parameter of the model and closer to an argument that every model has than to any of them."""
    known = spec.params.model_fields.keys()
    for name in params.keys() - known:
        hint = did_you_mean(name, (*known, *ARGUMENTS), limit=1)
        if any(repr(argument) in hint for argument in ARGUMENTS):
            raise ParamsError(f"{spec.name}: {name} = {params[name]!r}: unknown key.{hint}")


def build_from_spec(spec: ModelSpec, params: BaseModel, *, num_classes: int, in_channels: int) -> nn.Module:
    """Import a spec's builder, call it, and check what comes back.

    Args:
        spec: The model's spec.
        params: Checked parameters, an instance of ``spec.params``.
        num_classes: Channels of the logits, background included.
        in_channels: Channels of the image.

    Raises:
        ValueError: If ``num_classes`` or ``in_channels`` is below 1, or a built-in model refuses a value.
        PluginError: If a plugin's builder fails, or a builder cannot be imported or does not return a module with
            ``encoder`` and ``head``.
    """
    check_channels(in_channels=in_channels, num_classes=num_classes)
    # Plugins may print; stdout carries data only.
    with contextlib.nullcontext() if _is_own(spec) else stdout_to_stderr():
        model = _call(_builder(spec), spec, params, num_classes=num_classes, in_channels=in_channels)
    if not isinstance(model, nn.Module):
        raise PluginError(f"the builder {spec.builder} of {spec.name} returned no nn.Module but {type(model).__name__}")
    for part in ("encoder", "head"):
        if not isinstance(getattr(model, part, None), nn.Module):
            raise PluginError(f"the model {spec.name} built by {spec.builder} has no submodule {part!r}")
    return model


def _call(
    builder: Callable[..., object], spec: ModelSpec, params: BaseModel, *, num_classes: int, in_channels: int
) -> object:
    try:
        return builder(params, in_channels=in_channels, num_classes=num_classes)
    except (SegzooError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plugin may raise SystemExit, too
        if _is_own(spec):
            raise  # what a built-in says of a value is meant for whoever gave it
        raise PluginError(f"the builder {spec.builder} of {spec.name} failed: {fault_text(error)}") from error


def _is_own(spec: ModelSpec) -> bool:
    return spec.builder.startswith("segzoo.")


def _builder(spec: ModelSpec) -> Callable[..., object]:
    module, _, function = spec.builder.partition(":")
    try:
        builder: Callable[..., object] = getattr(importlib.import_module(module), function)
    except (SegzooError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plugin's module may raise anything while it is imported
        raise PluginError(
            f"the builder {spec.builder} of {spec.name} cannot be imported: {fault_text(error)}"
        ) from error
    return builder
