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

ANY_CHANNELS = 5
"""In the table of channels it stands for itself and all above: beyond four, OpenCV is given channels in parts."""

FILLS_ANY_CHANNELS = frozenset({"CoarseDropout", "Erasing", "GridDropout", "XYMasking"})
"""Transforms whose ``fill`` may be a list however many channels there are."""

FILLS_FIRST_CHANNEL = frozenset(
    {"ElasticTransform", "GridDistortion", "OpticalDistortion", "Perspective", "PiecewiseAffine", "ThinPlateSpline"}
)
"""Transforms that fill the other channels with 0 where ``fill`` is a number."""


class Transform(NamedTuple):
    """The arguments of one transform, ``p`` among them; ``transforms`` marks one that is made of others."""

    required: frozenset[str]
    optional: frozenset[str]

    @property
    def arguments(self) -> frozenset[str]:
        """All names that a recipe may write beside ``name``."""
        return self.required | self.optional


class Table(NamedTuple):
    """What a recipe may write under ``augment``, and why it may not write the rest of albumentations.

    ``channels`` holds the numbers of channels that suit a transform, for those that not all suit.
    """

    transforms: dict[str, Transform]
    refused: dict[str, str]
    refused_arguments: dict[str, str]
    channels: dict[str, tuple[int, ...]]


@cache
def augmentation_table() -> Table:
    """Return the committed tables; scripts in ``tests`` write them from the installed albumentations."""
    content, channels = (
        json.loads(resources.files("segzoo.catalog").joinpath(f"{name}.json").read_text("utf-8"))
        for name in ("augmentations", "augmentation_channels")
    )
    transforms = {
        name: Transform(frozenset(entry["required"]), frozenset(entry["optional"]))
        for name, entry in content["transforms"].items()
    }
    suited = {name: tuple(counts) for name, counts in channels.items()}
    return Table(transforms, content["refused"], content["refused_arguments"], suited)


def check_augment(entries: Sequence[AugmentEntry], *, in_channels: int | None = None) -> None:
    """Check the names of transforms and of their arguments; values are checked when the transforms are built.

    Args:
        entries: The ``augment`` section.
        in_channels: Channels of the images, which not every transform and not every ``fill`` suits; None where they
            have been checked already.

    Raises:
        RecipeError: One line for each of the first faults, with its path in the recipe and the nearest valid name.
    """
    faults = list(islice(_faults_of_all(entries, "augment", in_channels), MAX_PROBLEMS))
    if faults:
        raise RecipeError("\n".join(faults))


def _faults_of_all(entries: Sequence[AugmentEntry], path: str, in_channels: int | None) -> Iterator[str]:
    for index, entry in enumerate(entries):
        yield from _faults(entry, f"{path}.{index}", in_channels)


def _faults(entry: AugmentEntry, path: str, in_channels: int | None) -> Iterator[str]:
    table = augmentation_table()
    if entry.name in table.refused:
        yield f"{path}.name: {entry.name!r} cannot be used: {table.refused[entry.name]}"
    elif entry.name not in table.transforms:
        yield f"{path}.name: no transform named {entry.name!r}.{did_you_mean(entry.name, table.transforms)}"
    else:
        yield from _argument_faults(entry, path)
        if in_channels is not None:
            yield from _channel_faults(entry, path, in_channels)
    yield from _faults_of_all(entry.transforms or (), f"{path}.transforms", in_channels)


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


def _channel_faults(entry: AugmentEntry, path: str, in_channels: int) -> Iterator[str]:
    suited = augmentation_table().channels.get(entry.name)
    if suited is not None and min(in_channels, ANY_CHANNELS) not in suited:
        *others, last = ["more" if count == ANY_CHANNELS else str(count) for count in suited]
        counts = f"{', '.join(others)} or {last}" if others else last
        yield f"{path}.name: {entry.name!r} acts on images of {counts} channels, but model.in_channels is {in_channels}"
    fill = (entry.model_extra or {}).get("fill")
    if fill is not None and (reason := _misfit(entry.name, fill, in_channels)):
        yield f"{path}.fill: {reason}"


def _misfit(name: str, fill: object, in_channels: int) -> str | None:
    """Say why a ``fill`` would not fill every channel as it says; albumentations does not."""
    few = in_channels < ANY_CHANNELS
    if isinstance(fill, list) and name != "CropAndPad":  # there it is a range to draw from
        if len(fill) != in_channels:
            return f"has {len(fill)} values, but model.in_channels is {in_channels}; give one for each channel"
        if not few and name not in FILLS_ANY_CHANNELS:
            return f"{name} takes a list for up to 4 channels; give one number for all of them"
    if isinstance(fill, int | float) and fill and in_channels > 1 and name in FILLS_FIRST_CHANNEL:
        way = f"give a list of {in_channels}" if few else "leave it out"
        return f"{name} fills the first channel with a number and the others with 0; {way}"
    if isinstance(fill, str) and fill.startswith("inpaint") and in_channels != 3:
        return f"{fill!r} paints images of 3 channels, but model.in_channels is {in_channels}"
    return None


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
