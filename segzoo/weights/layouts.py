"""From the names that a file gives its tensors to those of the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from segzoo.errors import UsageFault

Part = Literal["encoder", "model"]
Layout = Literal["own", "vgg", "timm"]

CLASSIFIERS = ("_fc.", "classifier.", "fc.", "head.", "last_linear.", "linear.")
"""Beginnings of the names of classification layers that come with an encoder's weights and have no place in it."""

VGG_CLASSIFIER = "classifier."


def named_as_model(
    model: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, layout: Layout, part: Part
) -> dict[str, Tensor]:
    """Return a file's tensors under the names that the model gives them, without those it has dropped.

    A model whose adapter removes dead parts lists the beginnings of their names as ``dropped``.

    Args:
        model: The model.
        tensors: What the file holds.
        path: The file.
        layout: How the file names its tensors; see :class:`segzoo.spec.Weights`.
        part: The part of the model that it holds.

    Raises:
        UsageFault: If the file does not have the layout.
    """
    encoder = model.get_submodule("encoder")
    match layout:
        case "vgg":
            named = _prefixed(vgg_tensors(encoder, tensors))
        case "timm":
            from segzoo import smp  # late, because it imports every architecture

            named = _prefixed(smp.timm_tensors(encoder, path))
        case "own" if part == "encoder":
            named = _prefixed(_without_classifier(encoder, tensors))
        case "own":
            named = dict(tensors)
    dropped: tuple[str, ...] = getattr(model, "dropped", ())
    return {name: tensor for name, tensor in named.items() if not name.startswith(dropped)}


def vgg_tensors(encoder: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's VGG under the names of an encoder that has the same layers in the same order.

    The convolutions of ``features`` go to the encoder's convolutions one by one, its batch norms to the batch norms.

    Args:
        encoder: The encoder; nothing else in it holds tensors.
        tensors: What the file holds; the classifier is left out.

    Raises:
        UsageFault: If the file has a tensor that VGG has not, or another number of layers than the encoder.
    """
    layers: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = re.fullmatch(r"features\.(\d+)\.(\w+)", name)
        if found:
            layers.setdefault(int(found[1]), {})[found[2]] = tensor
        elif not name.startswith(VGG_CLASSIFIER):
            raise UsageFault(f"the file has {name}, which is not a name of torchvision's VGG")
    ordered = [layers[index] for index in sorted(layers)]
    convs = [layer for layer in ordered if _is_conv(layer)]
    norms = [layer for layer in ordered if not _is_conv(layer)]
    return {
        **_one_by_one(convs, _names(encoder, nn.Conv2d), "convolutions"),
        **_one_by_one(norms, _names(encoder, nn.BatchNorm2d), "batch norms"),
    }


def _is_conv(layer: Mapping[str, Tensor]) -> bool:
    return "weight" in layer and layer["weight"].ndim == 4


def _names(module: nn.Module, kind: type[nn.Module]) -> list[str]:
    return [name for name, layer in module.named_modules() if isinstance(layer, kind)]


def _one_by_one(layers: list[dict[str, Tensor]], names: list[str], kind: str) -> dict[str, Tensor]:
    if len(layers) != len(names):
        raise UsageFault(f"the file has {len(layers)} {kind}, the encoder {len(names)}")
    return {
        f"{name}.{leaf}": tensor for name, layer in zip(names, layers, strict=True) for leaf, tensor in layer.items()
    }


def _without_classifier(encoder: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = encoder.state_dict().keys()
    return {name: tensor for name, tensor in tensors.items() if name in own or not name.startswith(CLASSIFIERS)}


def _prefixed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"encoder.{name}": tensor for name, tensor in tensors.items()}
