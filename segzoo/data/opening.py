"""From a recipe's ``data`` section to the source of its samples: each format has a function that lists its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from segzoo.data.findings import Finding, explain_unpaired
from segzoo.data.formats.ade20k import list_ade20k
from segzoo.data.formats.camvid import list_camvid
from segzoo.data.formats.cityscapes import list_cityscapes
from segzoo.data.formats.folder import list_folder
from segzoo.data.formats.oxford_pets import list_oxford_pets
from segzoo.data.formats.shapes import list_shapes
from segzoo.data.formats.voc import list_voc
from segzoo.data.source import Source, name_some, refuse_empty
from segzoo.errors import DataError
from segzoo.recipe.data import (
    Ade20kData,
    CamvidData,
    CityscapesData,
    DataSection,
    FolderData,
    OxfordPetsData,
    ShapesData,
    VocData,
)

Listing = tuple[Source, tuple[Finding, ...]]
"""A source of all whole samples, and the files that belong to none."""

LISTERS: Mapping[type, Callable[..., Listing]] = {
    ShapesData: list_shapes,
    FolderData: list_folder,
    CamvidData: list_camvid,
    VocData: list_voc,
    OxfordPetsData: list_oxford_pets,
    CityscapesData: list_cityscapes,
    Ade20kData: list_ade20k,
}
"""What lists the files of a section; each takes the section, ``seed`` and ``in_channels``."""


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


def list_source(data: DataSection, *, seed: int, in_channels: int = 3) -> Listing:
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
    return LISTERS[type(data)](data, seed=seed, in_channels=in_channels)
