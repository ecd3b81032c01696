"""What ``segzoo data check`` says of a recipe's data or of a folder, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segzoo.data.doctor.advice import (
    Fragment,
    Statistics,
    class_weights,
    make_remarks,
    propose,
    remark_on_camvid,
    remark_on_weights,
    training_split,
)
from segzoo.data.doctor.doctor import Checkup, SplitFacts, examine_source
from segzoo.data.doctor.guess import guess_section
from segzoo.data.examine import Watch, unwatched
from segzoo.data.findings import Finding
from segzoo.data.opening import list_source
from segzoo.data.source import Source, refuse_empty
from segzoo.errors import DataError
from segzoo.params import validate_params
from segzoo.plugins import get_spec
from segzoo.recipe.schema import CrossEntropy, LossTerm, Recipe


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with data, what it holds, and what follows.

    Args:
        checkup: The findings and the facts of each split.
        expected: What the model subtracts from images and divides them by; None for a folder.
        labels: How many masks of a folder hold each label or colour.
        weights: Weights of the classes by formula.
        remarks: What is no fault, but should be known.
        fragment: What the recipe could gain, as a part of one.
    """

    checkup: Checkup
    expected: Statistics | None
    labels: dict[str, int]
    weights: dict[str, list[float]]
    remarks: list[str]
    fragment: Fragment

    def rows(self) -> list[dict[str, str | None]]:
        """Return one row for each finding."""
        return [
            {"kind": finding.kind, "split": split, "file": readable(finding.file), "message": readable(finding.message)}
            for split, finding in self.checkup.findings
        ]

    def summary(self) -> dict[str, Any]:
        """Return all but the findings themselves."""
        names = [entry.name for entry in self.checkup.classes]
        expected = None if self.expected is None else dict(zip(("mean", "std"), map(list, self.expected), strict=True))
        return {
            "findings": dict(Counter(finding.kind for _, finding in self.checkup.findings)),
            "classes": names,
            "splits": {split: _numbers(facts, names) for split, facts in self.checkup.splits.items()},
            "expected": expected,
            "labels": self.labels,
            "class_weights": self.weights,
            "remarks": self.remarks,
            "fragment": self.fragment,
        }


def diagnose_recipe(recipe: Recipe, *, watch: Watch = unwatched) -> Diagnosis:
    """Read all data of a resolved recipe.

    Raises:
        DataError: If there is nothing to read, or a folder may not be looked into.
        SegzooError: If the data cannot be fetched, or the format has no such images.
    """
    channels = recipe.model.in_channels
    with _listing():
        source, unpaired = list_source(recipe.data, seed=recipe.train.seed, in_channels=channels)
    checkup = _check(source, unpaired, watch, where=getattr(recipe.data, "root", recipe.data.format))
    return _conclude(checkup, _expected(recipe), {}, recipe.data.model_dump(mode="json"), recipe.loss)


def diagnose_folder(root: Path, *, watch: Watch = unwatched) -> Diagnosis:
    """Read all data of a folder, whose layout and labels are guessed.

    Raises:
        DataError: If there is nothing to read, the layout is unknown, or a folder may not be looked into.
    """
    with _listing():
        guess = guess_section(root, watch=watch)
        source, unpaired = list_source(guess.section, seed=0)
    checkup = _check(source, unpaired, watch, where=str(root))
    section = guess.section.model_dump(mode="json")
    diagnosis = _conclude(checkup, None, guess.labels, section, (CrossEntropy(),))
    more = diagnosis.fragment.get("data", {})
    diagnosis.fragment["data"] = guess.proposal | more
    diagnosis.remarks.extend(remark_on_camvid(guess.section, guess.labels, checkup))
    return diagnosis


def readable(text: str) -> str:
    """Return text for JSON: the bytes of file names in it that are no UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def _listing() -> Iterator[None]:
    """Turn a folder that may not be looked into, which leaves nothing to check, into a DataError."""
    try:
        yield
    except PermissionError as error:
        raise DataError(f"{error.filename}: {error.strerror}; the data cannot be listed") from error


def _check(source: Source, unpaired: tuple[Finding, ...], watch: Watch, *, where: str) -> Checkup:
    if not unpaired:
        refuse_empty(source.splits, where)
    return examine_source(source, unpaired, watch=watch)


def _conclude(
    checkup: Checkup,
    expected: Statistics | None,
    labels: dict[str, int],
    section: dict[str, Any],
    loss: tuple[LossTerm, ...],
) -> Diagnosis:
    split = training_split(checkup)
    weights = {} if split is None else class_weights(checkup.splits[split])
    fragment = propose(checkup, weights, data=section, loss=loss)
    return Diagnosis(
        checkup=checkup,
        expected=expected,
        labels=labels,
        weights=weights,
        remarks=[*make_remarks(checkup, expected), *remark_on_weights(checkup.classes, fragment)],
        fragment=fragment,
    )


def _expected(recipe: Recipe) -> Statistics:
    from segzoo.data.normalise import channel_statistics  # torch

    spec = get_spec(recipe.model.name)
    spec = spec.refined(validate_params(spec, recipe.model.params))
    return channel_statistics(spec.input, recipe.model.in_channels)


def _numbers(facts: SplitFacts, names: list[str]) -> dict[str, Any]:
    pixels = sum(facts.class_pixels)
    return {
        "samples": facts.samples,
        "height": list(facts.heights),
        "width": list(facts.widths),
        "ignored_share": facts.ignored_share,
        "class_shares": {name: count / max(pixels, 1) for name, count in zip(names, facts.class_pixels, strict=True)},
        "class_pixels": dict(zip(names, facts.class_pixels, strict=True)),
        "mean": list(facts.mean),
        "std": list(facts.std),
    }
