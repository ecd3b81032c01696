"""Where in a model the cost lies, and how far it sees."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from segzoo.bench.count import count
from segzoo.bench.subject import open_subject
from segzoo.errors import fault_text

logger = logging.getLogger(__name__)

DEPTH, MOST = 2, 12
"""How deep modules are looked into, and how many of a model are shown: those that cost most."""


@dataclass(frozen=True)
class ModuleCost:
    """What one module costs.

    Args:
        name: Its path in the model, such as ``encoder.layer1``.
        parameters: How many it has, those of its children included.
        gmacs: 10^9 multiply-accumulates of an image, those of its children included.
    """

    name: str
    parameters: int
    gmacs: float


@dataclass(frozen=True)
class Anatomy:
    """What is known of the inside of a model.

    Args:
        model: Full id or run directory.
        gmacs: 10^9 multiply-accumulates of an image.
        modules: The modules that cost most, in the model's order.
        receptive_field: How far a logit sees, in words; None where that is not known.
    """

    model: str
    gmacs: float
    modules: tuple[ModuleCost, ...]
    receptive_field: str | None = None


def examine(models: Iterable[str], size: tuple[int, int]) -> list[Anatomy]:
    """Return the anatomy of each model that can be built and counted; of others a warning tells why not.

    Args:
        models: Full ids and run directories.
        size: Height and width of the image in pixels.
    """
    found = []
    for model in models:
        try:
            found.append(_examine(model, size))
        except Exception as error:  # a plugin may raise anything, and a model that was measured may be gone
            logger.warning("the modules of %s are not counted: %s", model, fault_text(error))
    return found


def _examine(model: str, size: tuple[int, int]) -> Anatomy:
    subject = open_subject(model, seed=0)
    counts = count(subject.model, size=size, in_channels=subject.in_channels)
    costs = [
        ModuleCost(module.name, module.parameters, module.macs / 1e9)
        for module in counts.modules
        if module.name and module.name.count(".") < DEPTH and (module.macs or module.parameters)
    ]
    dearest = set(sorted(costs, key=lambda cost: (-cost.gmacs, -cost.parameters))[:MOST])
    return Anatomy(model, counts.macs / 1e9, tuple(cost for cost in costs if cost in dearest))
