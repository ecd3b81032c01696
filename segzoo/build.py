"""From a name to a network."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from segzoo.errors import ParamsError, PluginError, SegzooError, did_you_mean, fault_text
from segzoo.nn.conv import check_channels
from segzoo.params import validate_params
from segzoo.plugins import default_registry, stdout_to_stderr
from segzoo.pretrained import Identity, find_source
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
        A module that maps ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``. Other shapes, and images
        below the ``min_size`` of its spec, end in a ``ValueError`` before it runs; see :class:`ImageCheck`.

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
    source = None if weights is None else os.fspath(weights)
    identity = Identity(entry.id, spec, checked, in_channels)
    if source is not None:
        find_source(identity, source)  # raises what can be told at once
    model = build_from_spec(spec, checked, num_classes=num_classes, in_channels=in_channels)
    model.register_forward_pre_hook(ImageCheck(spec.name, in_channels, spec.input.min_size), with_kwargs=True)
    if source is not None:
        report = load_pretrained(model, identity, source)
        # A head that starts at random although the file has one is worth a word to whoever listens to nothing else.
        logger.log(logging.WARNING if report.head else logging.INFO, "%s", report.summary())
    return model


@dataclass(frozen=True)
class ImageCheck:
    """Refuses what a model does not take before torch fails on it somewhere inside.

    It is called ahead of ``forward``, so that no network has to repeat it. Copies and pickles of a model keep it; the
    state dict does not know of it. In a network that is compiled, traced or exported it does nothing: there a
    comparison of sizes would become part of the graph.

    Args:
        model: Name of the model, for messages.
        in_channels: Channels of an image.
        min_size: Smallest height and width in pixels.
    """

    model: str
    in_channels: int
    min_size: int

    def __call__(self, module: nn.Module, inputs: tuple[object, ...], named: dict[str, object]) -> None:
        """Look at the first argument of a call; the parameters are those of a hook before ``forward``.

        Raises:
            ValueError: If it is a tensor, but none of images that the model takes.
        """
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return
        image = next(iter((*inputs, *named.values())), None)
        fault = self._fault(tuple(image.shape)) if isinstance(image, Tensor) else None
        if fault is not None:
            raise ValueError(f"{self.model} takes images {fault}")

    def _fault(self, shape: tuple[int, ...]) -> str | None:
        expected = f"(N, {self.in_channels}, H, W), got a tensor {shape}"
        if len(shape) != 4:
            return expected + (": add the dimension of the batch with image[None]" if len(shape) == 3 else "")
        if shape[1] != self.in_channels:
            return f"{expected}: for {shape[1]} channels create it with in_channels={shape[1]}"
        height, width = shape[2:]
        if min(height, width) < self.min_size:
            smallest = f"{self.min_size}x{self.min_size}"
            return f"of at least {smallest} pixels, got {height}x{width}: resize or pad them"
        return None


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
