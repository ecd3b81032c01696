"""A network as a positive linear map, whose gradients are zero exactly where an output does not depend on the image."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segzoo.analysis.calls import Calls
from segzoo.analysis.linear_maps import Averaging, Pair, Step


@dataclass(frozen=True, eq=False)
class Trace:
    """One pass of a network as a positive linear map.

    Args:
        image: What went in, ``(1, C, H, W)``.
        output: What came out; of several maps the last.
        steps: The convolutions, poolings and resizings in order.
        causes: What made single outputs depend on the whole image, as far as it is known.
    """

    image: Tensor
    output: Tensor
    steps: list[Step]
    causes: list[str]


def trace(model: nn.Module, *, in_channels: int, size: Pair) -> Trace:
    """Run a network, prepared by :func:`positive_copy`, on an image of ones.

    Raises:
        ValueError: If it returns no map ``(N, C, H, W)``, or a layer is not known as a positive map.
    """
    image = torch.ones(1, in_channels, *size, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad(), Calls(model) as calls, Averaging(calls) as averaging:
        output = last_map(model(image))
    return Trace(image, output, averaging.steps, list(averaging.causes))


def positive_copy(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose weights are ones in float64, all in the memory of one."""
    one = torch.ones((), dtype=torch.float64)
    memo: dict[int, Any] = {
        id(value): nn.Parameter(one.expand(value.shape), requires_grad=False) for value in model.parameters()
    }
    memo.update((id(value), one.expand(value.shape)) for value in model.buffers() if value.is_floating_point())
    return copy.deepcopy(model, memo).eval()


def evaluation_copy(model: nn.Module) -> nn.Module:
    """Return a copy on the CPU in evaluation mode, in float32, whose parameters take no gradient."""
    return copy.deepcopy(model).to("cpu", torch.float32).eval().requires_grad_(False)


def last_map(output: object) -> Tensor:
    """Return the feature map that is meant where a network returns several.

    Raises:
        ValueError: If there is none.
    """
    found = _last_map(output)
    if found is None:
        raise ValueError(f"a feature map (N, C, H, W) is needed, got {type(output).__name__}")
    return found


def _last_map(output: object) -> Tensor | None:
    if isinstance(output, dict):
        return _last_map(next(iter(output.values()), None))  # torchvision's logits come before the auxiliary ones
    if isinstance(output, (list, tuple)):
        maps = [found for part in output if (found := _last_map(part)) is not None]
        return maps[-1] if maps else None
    return output if isinstance(output, Tensor) and output.dim() == 4 else None
