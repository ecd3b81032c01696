"""Recipes: a whole training run as one JSON file."""

from __future__ import annotations

from segzoo.recipe.load import load_recipe, recipe_json, recipe_sha256
from segzoo.recipe.resolve import resolve_recipe, resolve_without_weights
from segzoo.recipe.schema import Recipe

__all__ = ["Recipe", "load_recipe", "recipe_json", "recipe_sha256", "resolve_recipe", "resolve_without_weights"]
