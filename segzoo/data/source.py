"""What every data format looks like to the rest of segzoo: named samples in splits, read one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segzoo.data.draws import derive_seed
from segzoo.data.findings import Finding, explain_unpaired
from segzoo.errors import DataError
from segzoo.recipe.data import (
    Ade20kData,
    CamvidData,
    CityscapesData,
    ClassEntry,
    DataSection,
    FolderData,
    OxfordPetsData,
    ShapesData,
    VocData,
)

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


def open_source(data: DataSection, *, seed: int, in_channels: int = 3) -> Source:
    """Find the files of a recipe's ``data`` section, or set up what draws them.

    Args:
        data: The section; a format's own keys are typed by its class.
        seed: The recipe's seed; it draws fractional splits and scenes.
        in_channels: Channels of the images.

    Raises:
        DataError: If the folder is missing or may not be entered, a file lacks its partner, or a split is empty.
        DownloadError: If the data had to be fetched and could not be.
        RecipeError: If the format has no images of so many channels.
    """
    try:
        source, findings = list_source(data, seed=seed, in_channels=in_channels)
    except PermissionError as error:
        raise DataError(f"{error.filename}: {error.strerror}; the data cannot be listed") from error
    if findings:
        reason = explain_unpaired(findings)
        lines = [name_some(list(map(str, findings))), *([reason] if reason else [])]
        raise DataError("\n".join([f"{len(findings)} files are no pair of an image and a mask:", *lines]))
    refuse_empty(source.splits, getattr(data, "root", data.format))
    return source


def list_source(data: DataSection, *, seed: int, in_channels: int = 3) -> tuple[Source, tuple[Finding, ...]]:
    """Return the source of a recipe's ``data`` section, which holds all whole pairs, and the files that are in none.

    Args:
        data: The section.
        seed: The recipe's seed.
        in_channels: Channels of the images.

    Raises:
        DataError: If the folder or a split is missing.
        DownloadError: If the data had to be fetched and could not be.
        RecipeError: If the format has no images of so many channels.
    """
    # The formats build on this module, so they are imported where one is chosen.
    match data:
        case ShapesData():
            from segzoo.data.shapes import open_shapes

            return open_shapes(data, seed=seed, in_channels=in_channels), ()
        case FolderData():
            from segzoo.data.formats.folder import list_folder

            return list_folder(data, seed=seed, in_channels=in_channels)
        case CamvidData():
            from segzoo.data.formats.camvid import list_camvid

            return list_camvid(data, seed=seed, in_channels=in_channels)
        case VocData():
            from segzoo.data.formats.voc import list_voc

            return list_voc(data, seed=seed, in_channels=in_channels)
        case OxfordPetsData():
            from segzoo.data.formats.oxford_pets import list_oxford_pets

            return list_oxford_pets(data, seed=seed, in_channels=in_channels)
        case CityscapesData():
            from segzoo.data.formats.cityscapes import list_cityscapes

            return list_cityscapes(data, seed=seed, in_channels=in_channels)
        case Ade20kData():
            from segzoo.data.formats.ade20k import list_ade20k

            return list_ade20k(data, seed=seed, in_channels=in_channels)


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
