"""``--set a.b=value``: changing a recipe's data before it is validated."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from segzoo.errors import RecipeError, did_you_mean
from segzoo.messages import annotation_of, field_names, section_at, show, takes_only_text
from segzoo.recipe.schema import Recipe
from segzoo.recipe.strict_json import read_json


def apply_overrides(data: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a recipe's data with the assignments applied in order.

    Args:
        data: The recipe's JSON data.
        assignments: ``path=value``; names and list positions are separated by dots, the value is JSON or else text.

    Raises:
        RecipeError: If an assignment has no ``=``, or its path leads nowhere; the nearest key is suggested.
    """
    changed = copy.deepcopy(data)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise RecipeError(f"--set {assignment}: expected key=value, such as train.epochs=3")
        _assign(changed, path, text)
    return changed


def _assign(data: dict[str, Any], path: str, text: str) -> None:
    keys = path.split(".")
    parent: Any = data
    walked: list[str | int] = []
    for key in keys[:-1]:
        position = _position(parent, key, path)
        _check_key(data, walked, position, path)
        if isinstance(parent, dict) and parent.get(key) is None:
            parent[key] = _beginning(data, walked, key)
        parent = parent[position]
        walked.append(position)
    position = _position(parent, keys[-1], path)
    _check_key(data, walked, position, path)
    parent[position] = _value(data, walked, position, text)


def _position(parent: Any, key: str, path: str) -> str | int:  # noqa: ANN401 - any JSON
    if isinstance(parent, dict):
        return key
    if not isinstance(parent, list):
        raise RecipeError(f"--set {path}: {show(parent)} has no key {key!r}")
    if not (key.isascii() and key.isdigit()) or int(key) >= len(parent):
        items = f"positions 0 to {len(parent) - 1}" if parent else "no items"
        raise RecipeError(f"--set {path}: the list has {items}, not {key!r}")
    return int(key)


def _check_key(data: dict[str, Any], walked: Sequence[str | int], key: str | int, path: str) -> None:
    section = section_at(Recipe, data, walked)
    if section is None or section.model_config.get("extra") == "allow" or key in field_names(section):
        return
    where = ".".join(str(step) for step in walked) or "a recipe"
    names = field_names(section)
    hint = did_you_mean(str(key), names) or f" Known keys: {', '.join(names)}."
    raise RecipeError(f"--set {path}: {where} has no key {key!r}.{hint}")


def _beginning(data: dict[str, Any], walked: Sequence[str | int], key: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what an absent section starts from: the choice that its default makes, or the items of a mapping."""
    section = section_at(Recipe, data, walked)
    field = next((field for name, field in section.model_fields.items() if key == name), None) if section else None
    default = field.get_default(call_default_factory=True, validated_data={}) if field else None
    if isinstance(default, dict):
        return default
    if isinstance(default, tuple):
        return [_choice_of(item) for item in default]
    return _choice_of(default)


def _choice_of(default: object) -> dict[str, Any]:
    if not isinstance(default, BaseModel):
        return {}
    return {tag: getattr(default, tag) for tag in ("name", "format") if tag in type(default).model_fields}


def _value(data: dict[str, Any], walked: Sequence[str | int], key: str | int, text: str) -> Any:  # noqa: ANN401
    try:
        value = read_json(text)
    except ValueError:
        return text
    section = section_at(Recipe, data, walked)
    annotation = annotation_of(section, str(key)) if section else None
    if annotation is not None and takes_only_text(annotation) and not isinstance(value, str) and value is not None:
        return text
    return value
