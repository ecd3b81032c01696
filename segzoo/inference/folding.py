"""Folding batch norms into the convolutions before them: the same function with fewer operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


def fold_batch_norms(model: nn.Module, example: Tensor) -> int:
    """Fold every batch norm whose input is the output of one convolution, and of no use to anything else.

    One pass finds the pairs, whatever the modules are called and however they are connected. Weights are changed in
    place; a folded batch norm becomes an identity, or the activation that it contains.

    Args:
        model: The network in evaluation mode and float32.
        example: Images that it takes, ``(N, C, H, W)``.

    Returns:
        How many were folded.
    """
    pairs = _find_pairs(model, example)
    for name, (conv, norm) in pairs.items():
        _fuse(conv, norm)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, _remainder(norm))
    return len(pairs)


def _find_pairs(model: nn.Module, example: Tensor) -> dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return the convolution of each batch norm that can be folded, by the batch norm's name."""
    names = {module: name for name, module in model.named_modules()}
    calls: Counter[nn.Module] = Counter()
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensors are kept, so that no id is used twice
    inputs: dict[nn.BatchNorm2d, int] = {}
    uses = _CountUses()

    def after_conv(conv: nn.Module, _: Any, output: Tensor) -> None:  # noqa: ANN401 - torch's signature
        calls[conv] += 1
        if isinstance(conv, nn.Conv2d):
            outputs[id(output)] = (conv, output)
            uses.count[id(output)] = 0  # a tensor that is gone may have had this id

    def before_norm(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        calls[norm] += 1
        if isinstance(norm, nn.BatchNorm2d):
            inputs[norm] = id(given[0])

    hooks = []
    for module in names:
        if type(module) is nn.Conv2d:
            hooks.append(module.register_forward_hook(after_conv))
        elif _can_fold(module):
            hooks.append(module.register_forward_pre_hook(before_norm))
    try:
        with torch.no_grad(), uses:
            model(example[:1])
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for norm, key in inputs.items():
        conv, _ = outputs.get(key, (None, None))
        if conv is not None and calls[conv] == calls[norm] == 1 and uses.count[key] == 1:
            found[names[norm]] = (conv, norm)
    return found


def _can_fold(module: nn.Module) -> bool:
    """Return whether a module is a batch norm of fixed statistics, alone or with an activation behind it."""
    if not isinstance(module, nn.BatchNorm2d) or module.training or module.running_mean is None:
        return False
    return type(module) is nn.BatchNorm2d or isinstance(module, _batch_norm_with_activation())


def _batch_norm_with_activation() -> type[nn.Module]:
    from timm.layers.norm_act import BatchNormAct2d

    found: type[nn.Module] = BatchNormAct2d
    return found


def _remainder(norm: nn.Module) -> nn.Module:
    """Return what is left of a folded batch norm."""
    return nn.Identity() if type(norm) is nn.BatchNorm2d else nn.Sequential(norm.drop, norm.act)  # type: ignore[arg-type]


def _fuse(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("the batch norm has no statistics")
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


class _CountUses(TorchFunctionMode):
    """Counts how many operations use each tensor; functions that return no tensor, such as ``dim``, do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's signature
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            self.count.update({id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)})
        return result
