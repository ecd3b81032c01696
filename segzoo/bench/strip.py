"""A network as a positive linear map, whose gradients are zero exactly where an output does not depend on the image.

Every convolution becomes an average over its window and its channels, every max-pool an average, every activation and
every norm the identity, and every product of two feature maps their mean. Nothing is negative then, so nothing cancels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segzoo.bench.calls import Calls

IDENTITIES = frozenset(
    "relu relu_ relu6 leaky_relu leaky_relu_ prelu elu elu_ celu selu gelu silu mish hardswish hardsigmoid hardtanh "
    "hardtanh_ sigmoid sigmoid_ tanh tanh_ softplus softsign logsigmoid log_sigmoid softmax log_softmax clamp clamp_ "
    "clip clip_ batch_norm instance_norm layer_norm group_norm rms_norm local_response_norm normalize neg __neg__".split()
)
"""Functions that are left out, by name: activations, and norms as they are in evaluation mode."""

_SUMS = frozenset("add_ __iadd__ sub sub_ __sub__ __isub__ rsub __rsub__".split())
_PRODUCTS = frozenset("mul __mul__ __rmul__ multiply div __truediv__".split())
_PRODUCTS_IN_PLACE = {"mul_": torch.mul, "__imul__": torch.mul, "div_": torch.div, "__itruediv__": torch.div}
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
        if name in IDENTITIES:
            return args[0] if args else kwargs["input"]
        if name in self._replaced:
            return self._replaced[name](*args, **kwargs)
        if name in _SUMS:
            return torch.add(*args)
        if (name in _PRODUCTS or name in _PRODUCTS_IN_PLACE) and _both_vary(args):
            return (args[0] + args[1]) / 2
        if name in _PRODUCTS_IN_PLACE:
            return _PRODUCTS_IN_PLACE[name](*args)
        if name in _MATRIX_PRODUCTS and min(args[0].dim(), args[1].dim()) >= 2:
            return self._matrix_product(*args)
        return func(*args, **kwargs)

    def _step(self, kind: str, kernel: Pair | None, stride: Pair | None, dilation: Pair, output: Tensor) -> Tensor:
        if output.requires_grad and (kernel, stride) != ((1, 1), (1, 1)):
            self.steps.append(Step(self._calls.innermost(), kind, kernel, stride, dilation, output))
        return output

    def _cause(self, what: str) -> None:
        self.causes[f"{what} in {self._calls.innermost() or 'the network'}"] = None

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
        kernel = _pair(weight.shape[-2:])
        taps = input.new_full((groups, 1, *kernel), 1 / math.prod(kernel))
        output = F.conv2d(_average_channels(input, groups), taps, None, stride, padding, dilation, groups)
        output = _spread_channels(output, weight.shape[0])
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
        kernel = _pair(weight.shape[-2:])
        output = _average_channels(input, groups)
        # One axis after the other: windows of 64x64 are in use.
        geometry = [_pair(value) for value in (kernel, stride, padding, output_padding, dilation)]
        for axis in (0, 1):
            (length, breadth), *rest = [
                (value[0], still) if axis == 0 else (still, value[1])
                for value, still in zip(geometry, (1, 1, 0, 0, 1), strict=True)
            ]
            taps = input.new_full((groups, 1, length, breadth), 1 / (length * breadth))
            output = F.conv_transpose2d(output, taps, None, *rest[:3], groups, rest[3])
        output = _spread_channels(output, groups * weight.shape[1])
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
        output = F.avg_pool2d(input, kernel_size, stride or None, padding, ceil_mode)
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
        size = _pair(output_size[-2:]) if output_size is not None else self._pooled[indices.data_ptr()][1]
        return self._unpool(input, size)

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
        output = F.avg_pool2d(input, kernel_size, stride, *args, **kwargs)
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
        output = _last_map(model(image))
    if output is None:
        raise ValueError(f"{type(model).__name__} returns no feature map (N, C, H, W): it has no receptive field")
    return Trace(image, output, averaging.steps, list(averaging.causes))


def positive_copy(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose weights are ones in float64, all in the memory of one."""
    one = torch.ones((), dtype=torch.float64)
    memo: dict[int, Any] = {
        id(value): nn.Parameter(one.expand(value.shape), requires_grad=False) for value in model.parameters()
    }
    memo.update((id(value), one.expand(value.shape)) for value in model.buffers() if value.is_floating_point())
    return copy.deepcopy(model, memo).eval()


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return input.mean(-1, keepdim=True).expand(*input.shape[:-1], weight.shape[0])


def _average_channels(maps: Tensor, groups: int) -> Tensor:
    return maps.unflatten(1, (groups, -1)).mean(2)


def _spread_channels(maps: Tensor, channels: int) -> Tensor:
    """Repeat each channel, without memory where there is one."""
    groups = maps.shape[1]
    return maps.unsqueeze(2).expand(-1, -1, channels // groups, -1, -1).flatten(1, 2)


def _both_vary(operands: tuple[Any, ...]) -> bool:
    return all(isinstance(operand, Tensor) and operand.requires_grad for operand in operands[:2])


def _pair(value: Any) -> Pair:  # noqa: ANN401 - a number or two
    if isinstance(value, int):
        return value, value
    first, *rest = (int(part) for part in value)
    return first, (rest or [first])[0]


def _last_map(output: object) -> Tensor | None:
    if isinstance(output, dict):
        return _last_map(next(iter(output.values()), None))  # torchvision's logits come before the auxiliary ones
    if isinstance(output, (list, tuple)):
        maps = [found for part in output if (found := _last_map(part)) is not None]
        return maps[-1] if maps else None
    return output if isinstance(output, Tensor) and output.dim() == 4 else None
