"""Pydantic's validation errors as sentences: the path, the value, what is wrong, and the nearest valid name."""

from __future__ import annotations

import itertools
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from segzoo.errors import did_you_mean

MAX_PROBLEMS = 5
MAX_VALUE_LENGTH = 80

PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "it may hold letters, digits, '.', '_' and '-', and does not begin with one of "
    "the last three",
}
"""What the patterns that users meet ask for."""

SIZES = ("image_size", "size", "window")
"""Keys of two numbers that are a height and a width."""


def explain(error: ValidationError, model: type[BaseModel], data: Any, *, under: str = "") -> str:  # noqa: ANN401
    """Return one line for each problem, such as ``train.epocs = 3: unknown key. Did you mean 'epochs'?``.

    Args:
        error: What pydantic raised.
        model: The class that was validated.
        data: What was validated, as JSON data, or None where that is not known.
        under: Path of ``data`` inside a larger document, such as ``"model.params"``.
    """
    problems = [(_keys(problem, data), problem) for problem in error.errors(include_url=False)]
    # A union reports each member it tried: for a word, the choice of words says most.
    problems.sort(key=lambda pair: pair[1]["type"] != "literal_error")
    parents = {keys[:length] for keys, _ in problems for length in range(len(keys))}
    chosen: dict[tuple[str | int, ...], ErrorDetails] = {}
    for keys, problem in problems:
        # A bad item is also a missing one, and what holds it is none of the words that could stand there.
        if not (problem["type"] in ("too_short", "literal_error") and keys in parents):
            chosen.setdefault(keys, problem)
    shown = []
    for keys, problem in itertools.islice(chosen.items(), MAX_PROBLEMS):
        path = ".".join(str(key) for key in ((under, *keys) if under else keys))
        shown.append(_line(path, problem, section_at(model, data, keys[:-1])))
    if len(chosen) > MAX_PROBLEMS:
        shown.append(f"and {len(chosen) - MAX_PROBLEMS} more")
    return "\n".join(shown)


def section_at(annotation: Any, data: Any, keys: Sequence[str | int]) -> type[BaseModel] | None:  # noqa: ANN401
    """Return the class that validates what lies at ``keys``, or None where that is not a class's data.

    Args:
        annotation: The class, or the type form, that validates ``data``.
        data: JSON data; it decides between the members of a union.
        keys: Names and list positions to follow.
    """
    section = _section(annotation, data)
    if not keys:
        return section
    key, rest = keys[0], keys[1:]
    if section is not None:
        inner = annotation_of(section, str(key))
        return None if inner is None else section_at(inner, _child(data, key), rest)
    for member in _members(annotation):
        if get_origin(member) is tuple and get_args(member):
            return section_at(get_args(member)[0], _child(data, key), rest)
    return None


def annotation_of(section: type[BaseModel], key: str) -> Any:  # noqa: ANN401 - a type form
    """Return the annotation of a field by its name or alias, with its metadata, or None."""
    for name, field in section.model_fields.items():
        if key in (name, field.alias):
            return Annotated[field.annotation, field]
    return None


def field_names(section: type[BaseModel]) -> list[str]:
    """Return the keys that a class's JSON takes."""
    return [field.alias or name for name, field in section.model_fields.items()]


def takes_only_text(annotation: Any) -> bool:  # noqa: ANN401 - a type form
    """Say whether a field holds text: its raw value on a command line is kept as it is."""
    members = [member for member in _members(annotation) if member is not type(None)]
    return bool(members) and all(
        member is str or (get_origin(member) is Literal and all(isinstance(value, str) for value in get_args(member)))
        for member in members
    )


def show(value: Any) -> str:  # noqa: ANN401 - any JSON
    """Return a value as JSON, shortened where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= MAX_VALUE_LENGTH else text[: MAX_VALUE_LENGTH - 1] + "…"


def _line(path: str, problem: ErrorDetails, section: type[BaseModel] | None) -> str:
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing" | "union_tag_not_found":
            tag = context.get("discriminator", "").strip("'")
            what = "item" if isinstance(problem["loc"][-1], int) and not tag else "key"
            return f"{f'{path}.{tag}' if tag else path}: this {what} is required"
        case "extra_forbidden":
            names = field_names(section) if section else []
            hint = did_you_mean(str(problem["loc"][-1]), names)
            known = f" Known keys: {', '.join(names)}." if names and not hint else hint
            return f"{path} = {show(problem['input'])}: unknown key.{known}"
        case "literal_error":
            return _choice(path, problem["input"], context["expected"])
        case "union_tag_invalid":
            tag = context["discriminator"].strip("'")
            return _choice(f"{path}.{tag}", context["tag"], context["expected_tags"])
        case "value_error":
            reason = str(context["error"])
        case "too_short":
            reason = f"expected at least {_items(context['min_length'])}, got {len(problem['input'])}"
        case "too_long":
            reason = f"expected at most {_items(context['max_length'])}, got {len(problem['input'])}"
        case "tuple_type":
            reason = _expected_list(section, path.rpartition(".")[2])
        case "string_pattern_mismatch" if context["pattern"] in PATTERNS:
            reason = PATTERNS[context["pattern"]]
        case _:
            reason = problem["msg"][0].lower() + problem["msg"][1:]
    # A section whose keys clash is not repeated; the reason names the keys.
    whole = problem["type"] == "value_error" and isinstance(problem["input"], (dict, BaseModel))
    value = "" if whole else f" = {show(problem['input'])}"
    return f"{path}{value}: {reason}" if path else reason


def _items(count: int) -> str:
    return f"{count} item{'s' * (count != 1)}"


def _expected_list(section: type[BaseModel] | None, key: str) -> str:
    """Say what kind of list belongs under a key."""
    if key in SIZES:
        return "expected a list [height, width]"
    members = _members(annotation_of(section, key)) if section else []
    lengths = [len(get_args(member)) for member in members if get_origin(member) is tuple]
    fixed = lengths and not any(Ellipsis in get_args(member) for member in members)
    return f"expected a list of {_items(lengths[0])}" if fixed else "expected a list in brackets"


def _choice(path: str, value: Any, expected: str) -> str:  # noqa: ANN401 - any JSON
    choices = re.findall(r"'([^']*)'", expected)
    return f"{path} = {show(value)}: expected {expected.replace(' or ', ', ')}.{did_you_mean(str(value), choices)}"


def _keys(problem: ErrorDetails, data: Any) -> tuple[str | int, ...]:  # noqa: ANN401 - any JSON
    """Drop from pydantic's location what is not in the data: the names of union members."""
    location = problem["loc"]
    if data is None:
        return location
    keys: list[str | int] = []
    for position, key in enumerate(location):
        inside = _child(data, key)
        if inside is not _ABSENT:
            data = inside
        elif problem["type"] != "missing" or position < len(location) - 1:
            continue
        keys.append(key)
    return tuple(keys)


_ABSENT = object()


def _child(data: Any, key: str | int) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(data, Mapping):
        return data.get(key, _ABSENT)
    if isinstance(data, (list, tuple)) and isinstance(key, int) and 0 <= key < len(data):
        return data[key]
    return _ABSENT


def _section(annotation: Any, data: Any) -> type[BaseModel] | None:  # noqa: ANN401 - a type form and JSON
    sections = [member for member in _members(annotation) if isinstance(member, type) and issubclass(member, BaseModel)]
    if len(sections) == 1:
        return sections[0]
    for section in sections:
        if isinstance(data, Mapping) and _tag_matches(section, data):
            return section
    return None


def _tag_matches(section: type[BaseModel], data: Mapping[str, Any]) -> bool:
    tag = next((name for name in ("format", "name") if name in section.model_fields), None)
    return tag is not None and data.get(tag) in get_args(section.model_fields[tag].annotation)


def _members(annotation: Any) -> list[Any]:  # noqa: ANN401 - a type form
    """Return the members of a union, or the annotation alone, without their metadata."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType, typing.Union):
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation]
