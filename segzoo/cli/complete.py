"""Completion of names from metadata alone: no plugin code runs, no torch is imported."""

from __future__ import annotations

from segzoo.plugins import default_registry
from segzoo.recipe.shipped import shipped_recipes


def model_names(incomplete: str) -> list[str]:
    """Return the ids and bare names that begin with ``incomplete``."""
    return [name for name in default_registry().names() if name.startswith(incomplete)]


def recipe_names(incomplete: str) -> list[str]:
    """Return the shipped recipes that begin with ``incomplete``."""
    return [name for name in shipped_recipes() if name.startswith(incomplete)]
