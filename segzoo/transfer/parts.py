"""The parts of a model: groups of parameters with their own learning rates, and freezing."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from torch import nn

from segzoo.errors import UnknownName

PARTS = ("encoder", "decoder", "head")


def parameter_groups(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return every parameter under the part it belongs to, in a fixed order; ``other`` holds those of no part.

    The optimizer gets all of them from the first step on, so that a group never has to be added later.
    """
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in (*PARTS, "other")}
    for name, parameter in model.named_parameters():
        part = name.partition(".")[0]
        groups[part if part in PARTS else "other"].append(parameter)
    return {name: parameters for name, parameters in groups.items() if parameters}


def encoder_layers(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the encoder's parameters layer by layer, from the image on.

    A layer is a child of the encoder. Where all parameters lie in one child, its children are the layers; each member
    of a list of blocks is one.

    Args:
        model: A model with an ``encoder``.
    """
    layers: dict[str, list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for name, module in _layers("encoder", model.get_submodule("encoder")):
        own = [parameter for parameter in module.parameters() if parameter not in seen]
        seen.update(own)
        if own:
            layers[name] = own
    return layers


def _layers(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    children = [(f"{name}.{leaf}", child) for leaf, child in module.named_children() if [*child.parameters()]]
    if len(children) == 1:
        return _layers(*children[0])
    found: list[tuple[str, nn.Module]] = []
    for path, child in children:
        found.extend(_layers(path, child) if isinstance(child, nn.ModuleList) else [(path, child)])
    # What the module holds beside its children comes first, as position embeddings do.
    loose = nn.ParameterList(module.parameters(recurse=False))
    return [(name, loose), *found] if len(loose) else found or [(name, module)]


def freeze(model: nn.Module, *parts: str) -> None:
    """Keep parts of a model as they are, through every later ``model.train()``, until :func:`unfreeze`.

    Their parameters take no gradient and lose the one they have, so that neither weight decay nor momentum moves them.
    All their layers stay in evaluation mode, also where the model calls one of them directly: dropout does nothing, and
    batch norms keep their statistics. Copies and pickles of the model stay frozen; the state dict is the same.

    Args:
        model: The model, changed in place.
        *parts: Names of submodules: ``"encoder"``, ``"decoder"``, ``"head"``.

    Raises:
        ValueError: If no part is named.
        UnknownName: If the model has no such part.
    """
    for part in find_parts(model, parts):
        for parameter in part.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
        for module in part.modules():
            # An attribute of the instance hides the method. A partial of a function can be copied and pickled with it.
            vars(module)["train"] = functools.partial(_stay_in_evaluation, module)
        part.eval()


def unfreeze(model: nn.Module, *parts: str) -> None:
    """Let parts of a model train again: every parameter takes gradients, and the layers follow the model's mode.

    A parameter that its author made untrainable trains from then on, too: what never trains is a buffer.

    Args:
        model: The model, changed in place.
        *parts: Names of submodules: ``"encoder"``, ``"decoder"``, ``"head"``.

    Raises:
        ValueError: If no part is named.
        UnknownName: If the model has no such part.
    """
    for part in find_parts(model, parts):
        part.requires_grad_(True)
        for module in part.modules():
            vars(module).pop("train", None)
        part.train(model.training)


def find_parts(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return the submodules of these names; a wrong one is told before anything is changed.

    Raises:
        ValueError: If no part is named.
        UnknownName: If the model has no such part.
    """
    if not names:
        raise ValueError(f"name at least one part of the model: {', '.join(map(repr, PARTS))}")
    found = {name: part for name in PARTS if isinstance(part := getattr(model, name, None), nn.Module)}
    for name in names:
        if name not in found:
            raise UnknownName(f"part of {type(model).__name__} ({', '.join(found)})", name, found)
    return [found[name] for name in names]


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for a frozen module's ``train``, whatever mode it is asked for."""
    return type(module).train(module, False)
