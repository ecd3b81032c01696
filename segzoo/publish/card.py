"""The model card: what a run knows of its weights, for whoever meets them on the hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError

from segzoo.inference.description import ModelDescription
from segzoo.metrics.passport import Passport
from segzoo.page import UNKNOWN, count, decimal, percent
from segzoo.recipe import Recipe
from segzoo.spec import ModelSpec

SCORES = {
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "mean_dice": "mean Dice",
    "frequency_weighted_iou": "frequency-weighted IoU",
    "boundary_f1": "boundary F1",
}
COLUMNS = {"iou": "IoU", "dice": "Dice", "accuracy": "accuracy", "boundary_f1": "boundary F1"}

NOT_STATED = "not stated"

Fact = tuple[str, str]


@dataclass(frozen=True)
class Published:
    """What a card is about.

    Args:
        repository: ``owner/name`` on the hub.
        description: What ``model.json`` says.
        spec: The model's spec, refined by its parameters.
        recipe: The run's recipe, where it is known.
        images: How many images each split had, where that is known.
        license: SPDX identifier of the weights' license, where their author states one.
    """

    repository: str
    description: ModelDescription
    spec: ModelSpec
    recipe: Recipe | None
    images: Mapping[str, int]
    license: str | None


def write_card(published: Published) -> str:
    """Return the card as Markdown with the front matter that the hub reads."""
    description, metrics = published.description, published.description.metrics
    provenance = description.provenance.model_dump()
    return _render(
        repository=published.repository,
        license=published.license,
        model=description.id,
        summary=published.spec.summary,
        version=provenance.get("segzoo"),
        recipe=_cell(provenance.get("recipe", UNKNOWN)),
        papers=published.spec.papers,
        text=published.recipe.description if published.recipe else "",
        classes=[_cell(name) for name in description.names],
        absent=[_cell(name) for name in metrics.get("absent_classes", ())],
        data=_cells(_data(published, provenance)),
        scores=_scores(metrics),
        passport=_cells(_passport(metrics)),
        columns=list(COLUMNS.values()),
        per_class=_per_class(metrics),
        licenses=_cells(_licenses(published, provenance)),
    )


def _data(published: Published, provenance: Mapping[str, Any]) -> list[Fact]:
    description, recipe = published.description, published.recipe
    size = description.image_size
    splits = ", ".join(f"{split} {count(number)}" for split, number in published.images.items())
    return [
        ("data set", recipe.data.format if recipe else UNKNOWN),
        ("images", splits or UNKNOWN),
        ("network input", f"height {size[0]}, width {size[1]} pixels" if size else "each image's own size"),
        ("channels", str(description.in_channels)),
        ("augmentation", ", ".join(entry.name for entry in recipe.augment) or "none" if recipe else UNKNOWN),
        ("fingerprint", str(provenance.get("data_fingerprint", UNKNOWN))),
    ]


def _scores(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    values = {key: metrics[key] for key in SCORES if key in metrics} | (metrics.get("scores") or {})
    intervals = metrics.get("intervals") or {}
    return [
        (words, decimal(values[key], 4), _interval(intervals.get(key)))
        for key, words in SCORES.items()
        if key in values
    ]


def _interval(ends: tuple[float | None, float | None] | None) -> str:
    if ends is None or None in ends:
        return UNKNOWN
    return f"{decimal(ends[0], 4)} to {decimal(ends[1], 4)}"


def _passport(metrics: Mapping[str, Any]) -> list[Fact]:
    try:
        return Passport.model_validate_json(json.dumps(metrics.get("passport"))).facts
    except ValidationError:
        return [("passport", UNKNOWN)]


def _per_class(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    rows: Mapping[str, Mapping[str, float | None]] = metrics.get("per_class") or {
        name: {"iou": value} for name, value in (metrics.get("per_class_iou") or {}).items()
    }
    return [(_cell(name), [percent(row.get(key)) for key in COLUMNS]) for name, row in rows.items()]


def _licenses(published: Published, provenance: Mapping[str, Any]) -> list[Fact]:
    facts = [
        ("these weights", published.license or NOT_STATED),
        (f"code of {published.description.id}", published.spec.license),
        ("segzoo", "MIT"),
    ]
    origin = provenance.get("pretrained")
    if origin is None:
        return [*facts, ("weights that training started from", "none; they were random")]
    tag = published.recipe.model.weights if published.recipe else None
    known = published.spec.weights.get(tag) if isinstance(tag, str) else None
    return [*facts, (f"weights that training started from: {origin}", known.license if known else NOT_STATED)]


def _cells(facts: Iterable[Fact]) -> list[Fact]:
    return [(_cell(name), _cell(value)) for name, value in facts]


def _cell(text: str) -> str:
    """Return text as one cell of a Markdown table, whatever a user named a class."""
    plain = " ".join(str(text).split())
    for mark in "\\`*_[]<>|":
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def _render(**context: object) -> str:
    # Not the environment of segzoo.page: that one escapes for HTML.
    templates = Environment(
        loader=PackageLoader("segzoo"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return templates.get_template("card.md.j2").render(context)
