"""Torch's functions as positive linear maps.

Every convolution becomes an average over its window and its channels, every max-pool an average, every activation and
every norm the identity, and every product of two feature maps their mean. Nothing is negative then, so nothing cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from segzoo.analysis.calls import Calls

_RECTIFIERS = ("relu", "relu6", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish")
_SQUASHERS = ("sigmoid", "hardsigmoid", "log_sigmoid", "logsigmoid", "tanh", "hardtanh", "softplus", "softsign")
_LIMITS = ("softmax", "log_softmax", "clamp", "clip", "neg")
_NORMS = ("batch_norm", "instance_norm", "layer_norm", "group_norm", "rms_norm", "local_response_norm", "normalize")
IDENTITIES = frozenset((*_RECTIFIERS, *_SQUASHERS, *_LIMITS, *_NORMS))
"""Functions that are left out, by name; norms as they are in evaluation mode."""

# What is done in place is done out of place: many channels may share one memory. Differences become sums.
_SUMS = frozenset(("add_", "__iadd__", "sub", "sub_", "__sub__", "__isub__", "rsub", "__rsub__"))
_PRODUCTS = frozenset(("mul", "__mul__", "__rmul__", "multiply", "div", "__truediv__"))
_PRODUCTS_IN_PLACE = frozenset(("mul_", "__imul__", "div_", "__itruediv__"))
_MATRIX_PRODUCTS = frozenset(("matmul", "__matmul__", "bmm"))

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Step:
    """One convolution, pooling or resizing that took place.

    Args:
        name: Module in which it was called.
        kind: Name of torch's function.
        kernel: Height and width of its window, None where it has none.
        stride: Its step in pixels of its input; None where it has none.
        dilation: Distance of the window's taps.
        output: What it returned.
    """

    name: str
    kind: str
    kernel: Pair | None
    stride: Pair | None
    dilation: Pair
    output: Tensor


class Averaging(TorchFunctionMode):
    """Replaces torch's functions while a network runs, and remembers what took place.

    Args:
        calls: Knows which module is running.
    """

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.causes: dict[str, None] = {}  # in order, each once
        self._calls = calls
        self._pooled: dict[int, tuple[Tensor, Pair]] = {}
        self._spread: dict[int, tuple[Tensor, Tensor]] = {}
        self._replaced: dict[str, Callable[..., object]] = {
            "conv2d": self._conv2d,
            "conv_transpose2d": self._conv_transpose2d,
            "linear": _linear,
            "max_pool2d": self._max_pool2d,
            "max_pool2d_with_indices": self._max_pool2d_with_indices,
            "max_unpool2d": self._max_unpool2d,
            "avg_pool2d": self._avg_pool2d,
            "adaptive_avg_pool2d": self._adaptive_pool2d,
            "adaptive_max_pool2d": self._adaptive_pool2d,
            "interpolate": self._interpolate,
            "mean": self._mean,
            "scatter": self._scatter,
            "scaled_dot_product_attention": self._attention,
            "multi_head_attention_forward": self._multi_head_attention,
        }

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run what stands for a function; all that is called from here runs as it is."""
        kwargs = kwargs or {}
        name: str = getattr(func, "__name__", "")
        if name.strip("_") in IDENTITIES:  # relu_ and __neg__, too
            return args[0] if args else kwargs["input"]
        if name in self._replaced:
            return self._replaced[name](*args, **kwargs)
        if name in _SUMS:
            return torch.add(*args)
        if (name in _PRODUCTS or name in _PRODUCTS_IN_PLACE) and _both_vary(args):
            return (args[0] + args[1]) / 2
        if name in _PRODUCTS_IN_PLACE:
            return torch.mul(*args) if name in ("mul_", "__imul__") else torch.div(*args)
        if name in _MATRIX_PRODUCTS and min(args[0].dim(), args[1].dim()) >= 2:
            return self._matrix_product(*args)
        return func(*args, **kwargs)

    def _step(self, kind: str, kernel: Pair | None, stride: Pair | None, dilation: Pair, output: Tensor) -> Tensor:
        if output.requires_grad and (kernel, stride) != ((1, 1), (1, 1)):
            self.steps.append(Step(self._calls.innermost(), kind, kernel, stride, dilation, output))
        return output

    def _cause(self, what: str) -> None:
        self.causes[f"{what} in {self._calls.innermost() or 'the network'}"] = None

    def _average_channels(self, maps: Tensor, groups: int) -> Tensor:
        if groups == 1 and id(maps) in self._spread:
            return self._spread[id(maps)][1]
        batch, channels, *size = maps.shape
        return maps.reshape(batch, groups, channels // groups, *size).mean(2)

    def _spread_channels(self, maps: Tensor, channels: int) -> Tensor:
        """Repeat each channel; a single one is remembered, as what is done to its copies is as well done to it."""
        groups = maps.shape[1]
        spread = maps.unsqueeze(2).expand(-1, -1, channels // groups, -1, -1).flatten(1, 2)
        if groups == 1:
            self._spread[id(spread)] = spread, maps
        return spread

    def _pool(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        if id(input) in self._spread:
            return self._spread_channels(F.avg_pool2d(self._spread[id(input)][1], *args, **kwargs), input.shape[1])
        return F.avg_pool2d(input, *args, **kwargs)

    def _conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,  # noqa: ANN401 - a number or two
        padding: Any = 0,  # noqa: ANN401 - a number, two, or a word
        dilation: Any = 1,  # noqa: ANN401
        groups: int = 1,
    ) -> Tensor:
        _check_channels(input.shape[1], weight.shape[1] * groups, "convolution")
        kernel = _pair(weight.shape[-2:])
        taps = input.new_full((groups, 1, *kernel), 1 / math.prod(kernel))
        output = F.conv2d(self._average_channels(input, groups), taps, None, stride, padding, dilation, groups)
        output = self._spread_channels(output, weight.shape[0])
        return self._step("conv2d", kernel, _pair(stride), _pair(dilation), output)

    def _conv_transpose2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,  # noqa: ANN401
        padding: Any = 0,  # noqa: ANN401
        output_padding: Any = 0,  # noqa: ANN401
        groups: int = 1,
        dilation: Any = 1,  # noqa: ANN401
    ) -> Tensor:
        _check_channels(input.shape[1], weight.shape[0], "transposed convolution")
        kernel = _pair(weight.shape[-2:])
        output = self._average_channels(input, groups)
        (rows, columns), (down, right) = kernel, _pair(stride)
        (top, left), (bottom_extra, right_extra) = _pair(padding), _pair(output_padding)
        (apart, aside) = _pair(dilation)
        # One axis after the other: windows of 64x64 are in use.
        taps = input.new_full((groups, 1, rows, 1), 1 / rows)
        output = F.conv_transpose2d(output, taps, None, (down, 1), (top, 0), (bottom_extra, 0), groups, (apart, 1))
        taps = input.new_full((groups, 1, 1, columns), 1 / columns)
        output = F.conv_transpose2d(output, taps, None, (1, right), (0, left), (0, right_extra), groups, (1, aside))
        output = self._spread_channels(output, groups * weight.shape[1])
        return self._step("conv_transpose2d", kernel, _pair(stride), _pair(dilation), output)

    def _max_pool2d(
        self,
        input: Tensor,
        kernel_size: Any,  # noqa: ANN401
        stride: Any = None,  # noqa: ANN401
        padding: Any = 0,  # noqa: ANN401
        dilation: Any = 1,  # noqa: ANN401
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Tensor:
        if _pair(dilation) != (1, 1):
            raise ValueError(f"the receptive field behind a max-pool with dilation {dilation} cannot be found")
        output = self._pool(input, kernel_size, stride or None, padding, ceil_mode)
        return self._step("max_pool2d", _pair(kernel_size), _pair(stride or kernel_size), (1, 1), output)

    def _max_pool2d_with_indices(self, input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        output = self._max_pool2d(input, *args, **kwargs)
        indices = torch.zeros(output.shape, dtype=torch.int64)
        # The indices are kept, so that no other tensor takes their place in memory.
        self._pooled[indices.data_ptr()] = indices, _pair(input.shape[-2:])
        return output, indices

    def _max_unpool2d(
        self,
        input: Tensor,
        indices: Tensor,
        kernel_size: Any,  # noqa: ANN401
        stride: Any = None,  # noqa: ANN401
        padding: Any = 0,  # noqa: ANN401
        output_size: Any = None,  # noqa: ANN401
    ) -> Tensor:
        if output_size is not None:
            return self._unpool(input, _pair(output_size[-2:]))
        if indices.data_ptr() not in self._pooled:
            raise ValueError("an unpooling without output_size needs the indices of a max-pool as that returned them")
        return self._unpool(input, self._pooled[indices.data_ptr()][1])

    def _scatter(self, input: Tensor, dim: int, index: Tensor, src: Tensor, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Undo a max-pool: a maximum may have been anywhere in its window, so each value goes to all of it."""
        pooled = self._pooled.get(index.data_ptr())
        if pooled is None:
            return input.scatter(dim, index, src, **kwargs)
        indices, size = pooled
        return self._unpool(src.view(indices.shape), size).reshape(input.shape)

    def _unpool(self, input: Tensor, size: Pair) -> Tensor:
        return self._step("max_unpool2d", None, None, (1, 1), F.interpolate(input, size=size, mode="nearest"))

    def _avg_pool2d(
        self,
        input: Tensor,
        kernel_size: Any,  # noqa: ANN401
        stride: Any = None,  # noqa: ANN401
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Tensor:
        output = self._pool(input, kernel_size, stride, *args, **kwargs)
        return self._step("avg_pool2d", _pair(kernel_size), _pair(stride or kernel_size), (1, 1), output)

    def _adaptive_pool2d(self, input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:  # noqa: ANN401
        self._cause("pooling to a fixed size")
        return F.adaptive_avg_pool2d(input, output_size)

    def _interpolate(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        return self._step("interpolate", None, None, (1, 1), F.interpolate(input, *args, **kwargs))

    def _mean(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        output = torch.mean(input, *args, **kwargs)
        if input.dim() == 4 and output.numel() <= input.shape[0] * input.shape[1]:
            self._cause("an average over the image")
        return output

    def _matrix_product(self, left: Tensor, right: Tensor) -> Tensor:
        if _both_vary((left, right)):
            self._cause("attention")
        return left.mean(-1, keepdim=True) + right.mean(-2, keepdim=True)

    def _attention(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        self._cause("attention")
        seen = (key.mean(-1, keepdim=True) + value.mean(-1, keepdim=True)).mean(-2, keepdim=True)
        return (query.mean(-1, keepdim=True) + seen).expand(*query.shape[:-1], value.shape[-1])

    def _multi_head_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> tuple[Tensor, None]:
        """Attend over the first dimension, as torch's own layer does whatever order its input is in."""
        self._cause("attention")
        seen = (key.mean(-1, keepdim=True) + value.mean(-1, keepdim=True)).mean(0, keepdim=True)
        return (query.mean(-1, keepdim=True) + seen).expand(query.shape), None


def _check_channels(given: int, expected: int, layer: str) -> None:
    """Refuse what torch's own function would: averages take any number of channels."""
    if given != expected:
        raise ValueError(f"a {layer} of {expected} channels is given {given}")


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    _check_channels(input.shape[-1], weight.shape[-1], "linear layer")
    return input.mean(-1, keepdim=True).expand(*input.shape[:-1], weight.shape[0])


def _both_vary(operands: tuple[Any, ...]) -> bool:
    return all(isinstance(operand, Tensor) and operand.requires_grad for operand in operands[:2])


def _pair(value: Any) -> Pair:  # noqa: ANN401 - a number or two
    if isinstance(value, int):
        return value, value
    first, *rest = (int(part) for part in value)
    return first, (rest or [first])[0]
