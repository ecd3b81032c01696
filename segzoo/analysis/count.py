"""What one image costs a network, counted operation by operation without computing anything."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from segzoo.analysis.calls import Calls
from segzoo.transfer.parts import parameter_groups

CONVENTION = "GMACs (1 MAC = 2 FLOPs; conv + matmul), eval heads"
"""What the multiply-accumulates of :class:`Counts` are; it is printed wherever they are."""

_ALLOCATIONS = frozenset({"aten.empty", "aten.empty_like", "aten.empty_strided", "aten.new_empty"})


@dataclass(frozen=True)
class ModuleCounts:
    """What one module costs, everything inside it included.

    Args:
        name: Its path in the network; empty for the network itself.
        kind: Name of its class.
        parameters: Elements of its parameters.
        macs: Multiply-accumulates of its convolutions and matrix products.
        activations: Elements that these write.
        bytes_moved: Bytes that all its operations read and write.
    """

    name: str
    kind: str
    parameters: int
    macs: int
    activations: int
    bytes_moved: int


@dataclass(frozen=True)
class Counts:
    """What a network is made of, and what one image costs it in evaluation mode; docs/counting.md says how.

    Args:
        parameters: Elements of all parameters, shared ones once.
        trainable: Elements of those that take gradients.
        parts: Elements per part: ``encoder``, ``decoder``, ``head``, and ``other`` for the rest.
        train_only: Elements that evaluation never reads, such as those of auxiliary heads.
        buffers: Elements of all buffers.
        macs: Multiply-accumulates of convolutions and matrix products.
        activations: Elements that these write.
        bytes_moved: Bytes that all operations read and write, each operation on its own.
        operations: Operations that touch data; a view is none.
        uncounted: How often each operation ran that adds nothing to ``macs``.
        modules: The same for every module, in the order of ``named_modules``.
    """

    parameters: int
    trainable: int
    parts: Mapping[str, int]
    train_only: int
    buffers: int
    macs: int
    activations: int
    bytes_moved: int
    operations: int
    uncounted: Mapping[str, int]
    modules: tuple[ModuleCounts, ...]


def count(model: nn.Module, *, size: tuple[int, int], in_channels: int) -> Counts:
    """Count what one image costs.

    A copy without memory runs on the meta device. A network that cannot run there, because a value decides on its way,
    runs on the CPU.

    Args:
        model: The network, on any device and in any mode; it stays as it is.
        size: Height and width of the image in pixels.
        in_channels: Channels of the image.

    Raises:
        ValueError: If a side or the number of channels is below 1, or the network refuses such an image.
    """
    if min(*size, in_channels) < 1:
        raise ValueError(f"an image has at least 1 channel and 1 pixel, got {in_channels}x{size[0]}x{size[1]}")
    tally, used = _run_anywhere(model, (1, in_channels, *size))
    parameters = _elements(model.parameters())
    return Counts(
        parameters=parameters,
        trainable=_elements(parameter for parameter in model.parameters() if parameter.requires_grad),
        parts={part: _elements(members) for part, members in parameter_groups(model).items()},
        train_only=parameters - used,
        buffers=_elements(model.buffers()),
        macs=tally.macs[""],
        activations=tally.activations[""],
        bytes_moved=tally.bytes_moved[""],
        operations=tally.operations,
        uncounted=dict(tally.uncounted.most_common()),
        modules=tuple(
            ModuleCounts(
                name,
                type(module).__name__,
                _elements(module.parameters()),
                tally.macs[name],
                tally.activations[name],
                tally.bytes_moved[name],
            )
            for name, module in model.named_modules()
        ),
    )


@dataclass
class _Tally:
    """Sums per module."""

    macs: Counter[str] = field(default_factory=Counter)
    activations: Counter[str] = field(default_factory=Counter)
    bytes_moved: Counter[str] = field(default_factory=Counter)
    uncounted: Counter[str] = field(default_factory=Counter)
    operations: int = 0
    read: set[int] = field(default_factory=set)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at every operation below autograd."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = calls
        self.tally = _Tally()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operation and add it up; one that is made of others counts as those."""
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        read, written = _tensors((args, kwargs)), _tensors(result)
        self.tally.read.update(map(id, read))
        name = str(func._overloadpacket)
        if not written or name in _ALLOCATIONS or _is_view(func, read, written):
            return result
        self._add(name, formula, args, kwargs, result, read, written)
        return result

    def _add(
        self,
        name: str,
        formula: Callable[..., int] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,  # noqa: ANN401
        read: list[Tensor],
        written: list[Tensor],
    ) -> None:
        macs = activations = 0
        if formula is None:
            self.tally.uncounted[name] += 1
        else:
            macs = formula(*args, **kwargs, out_val=result) // 2
            activations = written[0].numel()
        moved = sum(map(_bytes, read)) + sum(map(_bytes, written))
        self.tally.operations += 1
        for module in self.calls.running():
            self.tally.macs[module] += macs
            self.tally.activations[module] += activations
            self.tally.bytes_moved[module] += moved


def _run_anywhere(model: nn.Module, shape: tuple[int, ...]) -> tuple[_Tally, int]:
    """Run without memory, or on the CPU where that fails, and return what :func:`_run` does."""
    # Values that are asked for are a RuntimeError on the meta device, and a TypeError where numpy asks for them.
    with contextlib.suppress(RuntimeError, TypeError):
        return _run(_on_meta(model), torch.empty(shape, device="meta"))
    try:
        image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        return _run(copy.deepcopy(model).to("cpu", torch.float32), image)
    except RuntimeError as error:
        raise ValueError(f"{type(model).__name__} fails on an image of {shape}: {error}") from error


def _run(model: nn.Module, image: Tensor) -> tuple[_Tally, int]:
    """Return the sums of one pass, and the elements of the parameters that it read."""
    model.eval()
    with Calls(model) as calls, _unfused_attention(), torch.no_grad(), _Counter(calls) as counter:
        model(image)
    tally = counter.tally
    return tally, _elements(parameter for parameter in model.parameters() if id(parameter) in tally.read)


@contextlib.contextmanager
def _unfused_attention() -> Iterator[None]:
    """Let attention run as the matrix products it is made of; its fused kernels have no formula everywhere."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _on_meta(model: nn.Module) -> nn.Module:
    """Return a copy whose parameters and buffers have no memory; nothing is copied but the structure."""
    memo: dict[int, Any] = {
        id(value): nn.Parameter(torch.empty_like(value, device="meta"), requires_grad=value.requires_grad)
        for value in model.parameters()
    }
    memo.update((id(value), torch.empty_like(value, device="meta")) for value in model.buffers())
    return copy.deepcopy(model, memo).float()


def _is_view(func: Any, read: list[Tensor], written: list[Tensor]) -> bool:  # noqa: ANN401
    if func._schema.is_mutable:
        return False
    storages = {tensor.untyped_storage()._cdata for tensor in read}
    return all(tensor.untyped_storage()._cdata in storages for tensor in written)


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _bytes(tensor: Tensor) -> int:
    """Return the bytes behind a tensor; an expanded dimension has no memory of its own."""
    elements = tensor.element_size()
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= length if stride else min(length, 1)
    return elements


def _elements(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)
