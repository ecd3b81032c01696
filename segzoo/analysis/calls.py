"""Which modules of a network are running."""

from __future__ import annotations

import functools
from types import TracebackType
from typing import Self

from torch import nn
from torch.utils.hooks import RemovableHandle


class Calls:
    """Knows, while the context lasts, which modules are being called.

    Args:
        model: The network whose modules are watched.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._stack: list[str] = []
        self._handles: list[RemovableHandle] = []

    def running(self) -> set[str]:
        """Return the names of the modules that are running, and of those that hold them.

        The network itself has the empty name. A list of modules is never called, nor is a network of which another
        calls the parts; the work of what they hold is theirs as well.
        """
        names = {""}
        for name in self._stack:
            while name not in names:
                names.add(name)
                name = name.rpartition(".")[0]
        return names

    def innermost(self) -> str:
        """Return the name of the module that was called last and has not returned."""
        return self._stack[-1] if self._stack else ""

    def __enter__(self) -> Self:
        for name, module in self._model.named_modules():
            # Ahead of the module's own hooks: where one of those raises, the call ends as any other.
            enter = functools.partial(self._enter, name)
            self._handles.append(module.register_forward_pre_hook(enter, prepend=True))
            self._handles.append(module.register_forward_hook(self._leave, always_call=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._stack.clear()

    def _enter(self, name: str, *_: object) -> None:
        self._stack.append(name)

    def _leave(self, *_: object) -> None:
        self._stack.pop()
