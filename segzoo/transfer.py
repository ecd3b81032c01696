"""The parts of a model, each a group of parameters with its own learning rate."""

from __future__ import annotations

from torch import nn

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
