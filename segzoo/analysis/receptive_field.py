"""How much of an image decides on one output pixel: the exact theoretical receptive field of any network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segzoo.analysis.strip import Trace, positive_copy, trace

LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
"""Lengths of the strip in pixels; the shortest that holds the field is used."""

ENOUGH_FOR_GLOBAL = 2048
"""A field that fills a strip of this length, for a known cause, is taken as global."""

WIDTHS = (32, 64, 192, 224, 256)
"""Widths of the strip in pixels; the first that the network takes is used."""

PERIOD = 64
"""Fields are compared over so many pixels of the image: the largest stride after which a network repeats itself."""


@dataclass(frozen=True)
class AxisField:
    """The receptive field along one axis of the image.

    Args:
        smallest: Pixels that the output with the smallest field depends on, from the first to the last; None where the
            field is the whole image.
        largest: The same of the output with the largest field. Outputs differ where a network enlarges its maps.
        cause: What makes the field global; empty where it is not.
    """

    smallest: int | None
    largest: int | None
    cause: str


@dataclass(frozen=True)
class LayerField:
    """One layer with a window, and how much of the image its output depends on along the height.

    Args:
        name: Module in which it is called.
        kind: torch's function.
        kernel: Height and width of the window; None where pixels are only interpolated.
        stride: Step of the window in pixels of its input.
        dilation: Distance of the window's taps.
        field: Pixels of the image that one output depends on; None where they fill the strip.
    """

    name: str
    kind: str
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    dilation: tuple[int, int]
    field: int | None


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of a network.

    Args:
        height: Along the height of the image.
        width: Along its width.
        layers: The layers with a window, in the order in which they run.
    """

    height: AxisField
    width: AxisField
    layers: tuple[LayerField, ...]


def receptive_field(module: nn.Module, *, in_channels: int) -> ReceptiveField:
    """Find the receptive field by the support of gradients on long, narrow images.

    Args:
        module: A network, or a part of one, that maps ``(N, in_channels, H, W)`` to a map of any size or to several, of
            which the last is meant; it stays as it is.
        in_channels: Channels of the image.

    Raises:
        ValueError: If the module takes no image of these channels, returns no map, or its field cannot be found.
    """
    positive = positive_copy(module)
    height, long_side = _along(positive, in_channels, axis=0)
    width, _ = _along(positive, in_channels, axis=1)
    return ReceptiveField(height, width, tuple(_layers(long_side)))


def _along(model: nn.Module, in_channels: int, *, axis: int) -> tuple[AxisField, Trace]:
    for length in LENGTHS:
        strip = _strip(model, in_channels, length, axis=axis)
        centre = _support(strip, strip.output, strip.output.shape[2 + axis] // 2, axis)
        if not _touches(centre, length):
            fields = [_support(strip, strip.output, row, axis) for row in _rows(strip, length, axis)]
            if not any(_touches(field, length) for field in fields):
                sizes = [last - first + 1 for first, last in fields]
                return AxisField(min(sizes), max(sizes), ""), strip
        elif strip.causes and length >= ENOUGH_FOR_GLOBAL and centre[1] - centre[0] > 0.9 * length:
            break
    return AxisField(None, None, _cause(strip, length)), strip


def _cause(strip: Trace, length: int) -> str:
    if not strip.causes:
        return f"more than {length} pixels"
    first, *others = strip.causes
    return f"{first} and {len(others)} more" if others else first


def _strip(model: nn.Module, in_channels: int, length: int, *, axis: int) -> Trace:
    """Run the model on the narrowest strip that it takes."""
    for width in WIDTHS:
        size = (length, width) if axis == 0 else (width, length)
        try:
            return trace(model, in_channels=in_channels, size=size)
        except (RuntimeError, ValueError, AssertionError) as error:
            fault = error
    raise ValueError(
        f"no receptive field of {type(model).__name__} from an image of {in_channels}x{size[0]}x{size[1]}: {fault}"
    ) from fault


def _rows(strip: Trace, length: int, axis: int) -> Iterator[int]:
    """Return the outputs in the middle that stand for all: neither border is near, and the network repeats itself."""
    outputs = strip.output.shape[2 + axis]
    several = max(1, -(-PERIOD * outputs // length))
    start = (outputs - several) // 2
    yield from range(start, start + several)


def _support(strip: Trace, output: Tensor, row: int, axis: int) -> tuple[int, int]:
    """Return the first and the last pixel that a row of outputs depends on."""
    outputs = output.select(2 + axis, row).sum()
    gradient = torch.autograd.grad(outputs, strip.image, retain_graph=True)[0] if outputs.requires_grad else None
    pixels = [] if gradient is None else gradient.sum(dim=(0, 1, 3 - axis)).nonzero().flatten().tolist()
    if not pixels:
        raise ValueError("no receptive field: the output does not depend on the image")
    return pixels[0], pixels[-1]


def _touches(field: tuple[int, int], length: int) -> bool:
    return field[0] == 0 or field[1] == length - 1


def _layers(strip: Trace) -> Iterator[LayerField]:
    length = strip.image.shape[2]
    for step in strip.steps:
        field = _support(strip, step.output, step.output.shape[2] // 2, 0)
        size = None if _touches(field, length) else field[1] - field[0] + 1
        yield LayerField(step.name, step.kind, step.kernel, step.stride, step.dilation, size)
