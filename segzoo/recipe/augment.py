"""The ``augment`` section against a table of albumentations' transforms, without importing albumentations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import islice
from typing import NamedTuple

from segzoo.errors import RecipeError, did_you_mean
from segzoo.messages import MAX_PROBLEMS
from segzoo.recipe.schema import AugmentEntry


class Transform(NamedTuple):
    """The arguments of one transform, ``p`` among them; ``transforms`` marks one that is made of others."""

    required: frozenset[str]
    optional: frozenset[str]

    @property
    def arguments(self) -> frozenset[str]:
        """All names that a recipe may write beside ``name``."""
        return self.required | self.optional


class Table(NamedTuple):
    """What a recipe may write under ``augment``, and why it may not write the rest of albumentations."""

    transforms: dict[str, Transform]
    refused: dict[str, str]
    refused_arguments: dict[str, str]


@cache
def augmentation_table() -> Table:
    """Return the committed table; ``tests/tables.py`` writes it from the installed albumentations."""
    content = json.loads(resources.files("segzoo.catalog").joinpath("augmentations.json").read_text("utf-8"))
    transforms = {
        name: Transform(frozenset(entry["required"]), frozenset(entry["optional"]))
        for name, entry in content["transforms"].items()
    }
    return Table(transforms, content["refused"], content["refused_arguments"])


def check_augment(entries: Sequence[AugmentEntry]) -> None:
    """Check the names of transforms and of their arguments; values are checked when the transforms are built.

    Raises:
        RecipeError: One line for each of the first faults, with its path in the recipe and the nearest valid name.
    """
    faults = list(islice(_faults_of_all(entries, "augment"), MAX_PROBLEMS))
    if faults:
        raise RecipeError("\n".join(faults))


def _faults_of_all(entries: Sequence[AugmentEntry], path: str) -> Iterator[str]:
    for index, entry in enumerate(entries):
        yield from _faults(entry, f"{path}.{index}")


def _faults(entry: AugmentEntry, path: str) -> Iterator[str]:
    table = augmentation_table()
    if entry.name in table.refused:
        yield f"{path}.name: {entry.name!r} cannot be used: {table.refused[entry.name]}"
    elif entry.name not in table.transforms:
        yield f"{path}.name: no transform named {entry.name!r}.{did_you_mean(entry.name, table.transforms)}"
    else:
        yield from _argument_faults(entry, path)
    yield from _faults_of_all(entry.transforms or (), f"{path}.transforms")


def _argument_faults(entry: AugmentEntry, path: str) -> Iterator[str]:
    table = augmentation_table()
    transform = table.transforms[entry.name]
    given = _given(entry)
    for name in sorted(given - transform.arguments):
        if name in table.refused_arguments:
            yield f"{path}: {entry.name} cannot be given {name!r}: {table.refused_arguments[name]}"
        else:
            yield f"{path}: {entry.name} has no argument {name!r}.{_suggest(name, transform.arguments)}"
    for name in sorted(transform.required - given):
        yield f"{path}: {entry.name} needs {name!r}"
    if entry.name == "SomeOf" and entry.transforms:
        yield from _count_faults(entry, path)


def _given(entry: AugmentEntry) -> set[str]:
    """Return the arguments that the recipe sets; in ``p`` and ``transforms`` null and nothing are the same."""
    given = set(entry.model_extra or {})
    if entry.p is not None:
        given.add("p")
    if entry.transforms:
        given.add("transforms")
    return given


def _count_faults(entry: AugmentEntry, path: str) -> Iterator[str]:
    # The compositions of albumentations do not check their values, its transforms do.
    arguments = entry.model_extra or {}
    count, members = arguments.get("n", 1), len(entry.transforms or ())
    if type(count) is not int or count < 1:
        yield f"{path}.n: must be a whole number from 1 on, got {count!r}"
    elif count > members and not arguments.get("replace", False):
        yield f"{path}.n: got {count}, but there are {members} transforms to choose from"


def _suggest(name: str, choices: Iterable[str]) -> str:
    # "prob" is far from "p" by edit distance, yet begins with it.
    return did_you_mean(name, choices) or did_you_mean(name[:1], choices)
