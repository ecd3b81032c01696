"""Looking at the features inside a model, and putting another head on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from segzoo.transfer.parts import find_parts

Tree = Any
"""A tensor, or tuples, lists and dictionaries of tensors and plain values, as a part of a model returns them."""


class Tapped:
    """What a part returned the last time the model was called."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._calls: list[Tree] = []

    @property
    def features(self) -> Tree:
        """The part's output, detached from the graph.

        Raises:
            ValueError: If the model was not called yet.
        """
        if not self._calls:
            raise ValueError(f"no features of the {self._part} yet: call the model inside the block")
        return self._calls[-1]

    def keep(self, module: nn.Module, inputs: tuple[object, ...], output: Tree) -> None:
        """Be a forward hook: note what the part returned."""
        self._calls[:] = [tree_map_only(Tensor, Tensor.detach, output)]


@contextmanager
def tap(model: nn.Module, part: str) -> Iterator[Tapped]:
    """Capture what a part of a model returns, while the block runs; the hook is gone after it.

    ::

        with tap(model, "decoder") as tapped:
            model(images)
        tapped.features  # (N, C, H, W), without a gradient

    Args:
        model: The model; it is as before once the block ends, also by an exception.
        part: ``"encoder"``, ``"decoder"`` or ``"head"``.

    Raises:
        UnknownName: If the model has no such part.
    """
    tapped = Tapped(part)
    handle = find_parts(model, [part])[0].register_forward_hook(tapped.keep)
    try:
        yield tapped
    finally:
        handle.remove()


def replace_head(model: nn.Module, head: nn.Module) -> nn.Module:
    """Put another head on a model, and return the one it had.

    With ``nn.Identity()`` the model returns the features that its head was given, at the size and in the form that the
    rest of its ``forward`` makes of them. The new head is on the device and in the mode in which it is given.

    Args:
        model: The model, changed in place.
        head: Maps what the old head was given to what the rest of the model expects of it.

    Raises:
        UnknownName: If the model has no head.
    """
    (old,) = find_parts(model, ["head"])
    model.head = head
    return old
