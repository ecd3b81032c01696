"""What every data format looks like to the rest of segzoo: named samples in splits, read one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segzoo.data.draws import derive_seed
from segzoo.errors import DataError
from segzoo.recipe.data import ClassEntry

Pixels = NDArray[np.uint8]
"""An image ``(H, W, C)``, or a mask ``(H, W)`` of labels."""

NAMED_FAULTS = 20
"""How many files a message lists by name."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and its mask, not yet read.

    Args:
        name: The file's name without its suffix, unique within a split.
        image: The image's file; None for scenes that are drawn.
        mask: The mask's file; None for scenes that are drawn.
        number: The scene's number where scenes are drawn, else the position among the files.
    """

    name: str
    image: Path | None
    mask: Path | None
    number: int


class Source(Protocol):
    """A data set as a recipe describes it. Sources are immutable and can be pickled into worker processes."""

    @property
    def classes(self) -> tuple[ClassEntry, ...]:
        """Names and colours by label; every class has a colour."""

    @property
    def ignore_index(self) -> int:
        """The label in masks that is neither trained nor scored."""

    @property
    def splits(self) -> Mapping[str, tuple[Sample, ...]]:
        """The samples of each split, sorted by name."""

    @property
    def settings(self) -> str:
        """JSON of everything but the files that decides what :meth:`read` returns: a part of cache keys."""

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Return the image, uint8 ``(H, W, C)``, three channels being RGB, and the mask, uint8 ``(H, W)``.

        Labels are as the file has them, ignored ones apart: one outside the classes is found by the scan, and so is
        a mask of another size than its image.

        Raises:
            DataError: If a file cannot be read or is of a kind that the format does not allow.
        """


def draw_splits(
    samples: Sequence[Sample], fractions: Mapping[str, float], *, seed: int
) -> dict[str, tuple[Sample, ...]]:
    """Deal the samples out to splits without overlap; what the fractions leave over is in none.

    The draw depends on the seed, the sorted names and the sorted splits, not on the order of any of them.
    """
    ordered = sorted(samples, key=lambda sample: sample.name)
    shuffled = np.random.default_rng(derive_seed(seed, "splits")).permutation(len(ordered))
    splits: dict[str, tuple[Sample, ...]] = {}
    share = 0.0
    for split in sorted(fractions):
        first, share = round(share * len(ordered)), share + fractions[split]
        chosen = sorted(shuffled[first : round(share * len(ordered))])
        splits[split] = tuple(ordered[position] for position in chosen)
    return {split: splits[split] for split in fractions}


def refuse_empty(splits: Mapping[str, Sequence[Sample]], where: str) -> None:
    """Raise if a split has no sample.

    Raises:
        DataError: Naming the empty splits and ``where`` their files were looked for.
    """
    empty = [split for split, samples in splits.items() if not samples]
    if empty:
        found = ", ".join(f"{split} has {len(samples)}" for split, samples in splits.items() if samples)
        others = f" ({found})" if found else ""
        raise DataError(f"no samples in split {', '.join(map(repr, empty))}: looked in {where}{others}")


def name_some(names: Sequence[str]) -> str:
    """Return up to 20 names as an indented list, and how many more there are."""
    lines = [f"  {name}" for name in names[:NAMED_FAULTS]]
    if len(names) > NAMED_FAULTS:
        lines.append(f"  and {len(names) - NAMED_FAULTS} more")
    return "\n".join(lines)
