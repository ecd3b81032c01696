"""What a process under the null GPU changes: cuDNN is off, and values that no kernel computed are not judged.

Python imports this file when it starts. Nothing is imported for it: each change is made when its module is loaded.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def without_cudnn(module: ModuleType) -> None:
    """Use torch's own kernels: those of cuDNN are in a library that the stand-in does not replace."""
    sys.modules["torch._C"]._set_cudnn_enabled(False)


def judge_only_shapes(module: Any) -> None:
    """Let the benchmark refuse logits of a wrong shape, but none that are not finite."""
    check = module.Subject.check

    def check_shape(self: Any, logits: Any, image: Any) -> None:
        check(self, logits.new_zeros(()).cpu().expand(logits.shape), image)

    module.Subject.check = check_shape


def find_nothing_bad(module: Any) -> None:
    """Let a run go on whatever its losses and weights are; what is read from the device is still read."""
    first_bad, finite = module.LossWatch.first_bad, module.weights_are_finite

    def none_bad(self: Any) -> None:
        first_bad.fget(self)

    def any_weights(model: Any) -> Any:
        finite(model)
        return module.torch.tensor(True)

    module.LossWatch.first_bad = property(none_bad)
    module.weights_are_finite = any_weights


def compare_only_shapes(module: Any) -> None:
    """Let a model be cut in two whose halves return the shape of the whole."""
    module.torch = WithoutValues(module.torch)


class WithoutValues:
    """The module ``torch``, for which all values are close."""

    def __init__(self, torch: ModuleType) -> None:
        self._torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def allclose(self, *compared: Any) -> bool:
        """Compare and return True."""
        self._torch.allclose(*compared)
        return True


CHANGES: dict[str, Callable[[Any], None]] = {
    "torch.backends.cudnn": without_cudnn,
    "segzoo.analysis.subject": judge_only_shapes,
    "segzoo.transfer.cut": compare_only_shapes,
    "segzoo.training.watch": find_nothing_bad,
}


class Changer(importlib.abc.MetaPathFinder):
    """Finds the modules that are changed, and changes each after it is executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that is changed."""
        if fullname not in CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            CHANGES[fullname](module)

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Changer())
