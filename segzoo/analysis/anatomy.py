"""Where in a model the cost lies, and how far it sees."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from segzoo.analysis.count import count
from segzoo.analysis.receptive_field import AxisField, receptive_field
from segzoo.analysis.subject import Subject, open_subject
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


def examine(models: Iterable[str], size: tuple[int, int], *, fields: bool) -> list[Anatomy]:
    """Return the anatomy of each model that can be built and counted; of others a warning tells why not.

    Args:
        models: Full ids and run directories.
        size: Height and width of the image in pixels.
        fields: Whether receptive fields are looked for, which takes seconds for each model.
    """
    found = []
    for model in models:
        try:
            subject = open_subject(model, seed=0)
            anatomy = _count(subject, size)
        except Exception as error:  # a plugin may raise anything, and a model that was measured may be gone
            logger.warning("the modules of %s are not counted: %s", model, fault_text(error))
            continue
        found.append(replace(anatomy, receptive_field=_look(subject)) if fields else anatomy)
    return found


def in_words(height: AxisField, width: AxisField) -> str:
    """Return a receptive field as ``196 x 196 pixels``, a range where outputs differ, or ``global`` and its cause."""
    if height.smallest is None or width.smallest is None:
        return f"global ({height.cause or width.cause})"
    sides = [f"{axis.smallest}{f' to {axis.largest}' * (axis.smallest != axis.largest)}" for axis in (height, width)]
    return f"{' x '.join(sides)} pixels"


def _look(subject: Subject) -> str | None:
    try:
        field = receptive_field(subject.model, in_channels=subject.in_channels)
    except Exception as error:  # as above
        logger.warning("the receptive field of %s is not known: %s", subject.name, fault_text(error))
        return None
    return in_words(field.height, field.width)


def _count(subject: Subject, size: tuple[int, int]) -> Anatomy:
    counts = count(subject.model, size=size, in_channels=subject.in_channels)
    costs = [
        ModuleCost(module.name, module.parameters, module.macs / 1e9)
        for module in counts.modules
        if module.name and module.name.count(".") < DEPTH and (module.macs or module.parameters)
    ]
    dearest = set(sorted(costs, key=lambda cost: (-cost.gmacs, -cost.parameters))[:MOST])
    return Anatomy(subject.name, counts.macs / 1e9, tuple(cost for cost in costs if cost in dearest))
