"""Loading tensors into a model, whole or not at all, and the report of what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from segzoo.errors import UsageFault
from segzoo.weights.files import is_finite
from segzoo.weights.heads import HEAD, HeadMatch, match_head

Fate = Literal["loaded", "adapted", "kept", "random"]

RGB = 3

COUNTER = ".num_batches_tracked"
"""Torch counts the batches of a batch norm only since version 0.4.1; older files lack it, and nothing else reads it."""

EXACT = (torch.float16, torch.bfloat16)
"""Types whose every value a float32 can hold."""


@dataclass(frozen=True)
class TransferReport:
    """What became of each tensor of a model when pretrained weights were loaded.

    Args:
        source: Where the weights come from, in words.
        loaded: Tensors taken as they are.
        adapted: Tensors converted to another number of image channels.
        reinitialised: Tensors that keep their random values.
        kept: Tensors of the head of which the rows of some classes were taken.
        head: What became of the head, in words; empty where that goes without saying.
        converted: Floating-point types of the file that the model does not have.
    """

    source: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    reinitialised: tuple[str, ...]
    kept: tuple[str, ...] = ()
    head: str = ""
    converted: tuple[torch.dtype, ...] = ()

    def summary(self) -> str:
        """Return one line that counts the tensors and names the parts that start at random."""
        line = f"{self.source}: {len(self.loaded)} tensors loaded, {len(self.adapted)} adapted"
        if self.adapted:
            line += f" ({', '.join(self.adapted)})"
        line += f", {len(self.reinitialised)} re-initialised"
        if self.reinitialised:
            line += f" ({', '.join(sorted({name.partition('.')[0] for name in self.reinitialised}))})"
        if self.head:
            line += f"; head: {self.head}"
        for dtype in self.converted:
            loss = "without loss" if dtype in EXACT else "rounded"
            line += f"; converted from {str(dtype).removeprefix('torch.')}, {loss}"
        return line


def adapt_first_conv(weight: Tensor, in_channels: int) -> Tensor:
    """Convert a first convolution's weights from RGB to another number of channels.

    One channel gets the sum over RGB, so that a grey image scores as it did in RGB. Any other number gets red,
    green and blue in turn, times ``3 / in_channels``, so that the sum over channels keeps its scale.

    Args:
        weight: Weights of the convolution, ``(out_channels, 3, kernel_height, kernel_width)``.
        in_channels: Channels wanted.
    """
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, torch.arange(in_channels) % RGB] * (RGB / in_channels)


def transfer(
    model: nn.Module,
    given: Mapping[str, Tensor],
    *,
    source: str,
    part: str,
    in_channels: int,
    classes: Sequence[str] | None,
    file_classes: Sequence[str] | None,
) -> TransferReport:
    """Decide on each tensor of the model, then load all of them at once.

    Args:
        model: The model.
        given: The file's tensors, named as in the model.
        source: Where they come from, in words.
        part: What the file holds: ``"encoder"`` or the whole ``"model"``.
        in_channels: Image channels of the model.
        classes: Names of the model's classes, where they are known.
        file_classes: Names of the file's classes, where they are known.

    Raises:
        UsageFault: If a tensor is missing, unknown, or of another shape or kind; the model is then as it was.
    """
    own = model.state_dict()
    wanted = {name: tensor for name, tensor in own.items() if part == "model" or name.startswith(f"{part}.")}
    _check_names(wanted, given)
    head = match_head(model, given, classes=classes, file_classes=file_classes)
    readers = _image_convs(model)
    fates: dict[str, Fate] = {}
    values: dict[str, Tensor] = {}
    for name, tensor in wanted.items():
        if name in given:
            value = _converted(name, given[name], tensor)
            fates[name], values[name] = _decide(name, tensor, value, head, in_channels if name in readers else None)
    model.load_state_dict({**own, **values})
    absent = wanted.keys() - given.keys()
    return TransferReport(
        source,
        loaded=_with_fate(fates, "loaded"),
        adapted=_with_fate(fates, "adapted"),
        reinitialised=tuple(name for name in own if fates.get(name, "random") == "random" and name not in absent),
        kept=_with_fate(fates, "kept"),
        head=head.told,
        converted=_types_converted(own, {name: given[name] for name, fate in fates.items() if fate != "random"}),
    )


def _decide(
    name: str, tensor: Tensor, value: Tensor, head: HeadMatch, image_channels: int | None
) -> tuple[Fate, Tensor]:
    """Return what becomes of a tensor of the model, and its new value.

    Args:
        name: Its name.
        tensor: The model's.
        value: The file's, in the model's type.
        head: What can be kept of the head.
        image_channels: Channels of the image where the tensor belongs to a convolution that may read it, or None.
    """
    if name in head.axes:
        return ("kept", head.merge(name, tensor.detach().cpu(), value)) if head.rows else ("random", tensor)
    if value.shape == tensor.shape:
        return "loaded", value
    if image_channels is not None and _is_rgb(value, tensor, image_channels):
        return "adapted", adapt_first_conv(value, image_channels)
    raise UsageFault(f"{name} has shape {tuple(value.shape)} in the file, {tuple(tensor.shape)} in the model")


def _with_fate(fates: Mapping[str, Fate], fate: Fate) -> tuple[str, ...]:
    return tuple(name for name, found in fates.items() if found == fate)


def _check_names(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    faults = []
    lacking = sorted(name for name in wanted.keys() - given.keys() if not name.endswith(COUNTER))
    for names, fault in ((lacking, "the file lacks"), (sorted(given.keys() - wanted.keys()), "the model has no")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            faults.append(f"{fault} {names[0]}{more}")
    if faults:
        raise UsageFault("; ".join(faults))


def _image_convs(model: nn.Module) -> set[str]:
    """Return the weights of the convolutions that may read the image: all before the head."""
    return {
        f"{name}.weight"
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and not f"{name}.".startswith(HEAD)
    }


def _is_rgb(value: Tensor, tensor: Tensor, in_channels: int) -> bool:
    """Say whether a convolution differs from the file's by the channels of the image and in nothing else."""
    return (
        value.ndim == tensor.ndim
        and (value.shape[1], tensor.shape[1]) == (RGB, in_channels)
        and (value.shape[0], *value.shape[2:]) == (tensor.shape[0], *tensor.shape[2:])
    )


def _converted(name: str, value: Tensor, tensor: Tensor) -> Tensor:
    """Return the file's tensor in the model's type."""
    if value.dtype == tensor.dtype:
        return value
    if value.is_floating_point() != tensor.is_floating_point():
        kinds = [str(each.dtype).removeprefix("torch.") for each in (value, tensor)]
        raise UsageFault(f"{name} is {kinds[0]} in the file, {kinds[1]} in the model")
    converted = value.to(tensor.dtype)
    if converted.is_floating_point() and not is_finite(converted):
        raise UsageFault(f"{name} holds values that are too large for {str(tensor.dtype).removeprefix('torch.')}")
    return converted


def _types_converted(own: Mapping[str, Tensor], taken: Mapping[str, Tensor]) -> tuple[torch.dtype, ...]:
    found = {tensor.dtype for name, tensor in taken.items() if tensor.dtype != own[name].dtype}
    return tuple(sorted((dtype for dtype in found if dtype.is_floating_point), key=str))
