"""Names and colours of the classes of known data sets, and colours for classes that have none."""

from __future__ import annotations

from collections.abc import Sequence

from segzoo.errors import NotAvailable, RecipeError
from segzoo.recipe.data import CamvidData, ClassEntry, DataSection, FolderData, ShapesData, VocData

Color = tuple[int, int, int]

CAMVID: tuple[tuple[str, Color], ...] = (
    ("sky", (128, 128, 128)),
    ("building", (128, 0, 0)),
    ("pole", (192, 192, 128)),
    ("road", (128, 64, 128)),
    ("pavement", (0, 0, 192)),
    ("tree", (128, 128, 0)),
    ("sign_symbol", (192, 128, 128)),
    ("fence", (64, 64, 128)),
    ("car", (64, 0, 128)),
    ("pedestrian", (64, 64, 0)),
    ("bicyclist", (0, 128, 192)),
)
"""The 11 classes of the SegNet papers in their order; colours are the data set's own."""

CAMVID_VOID = 11

VOC: tuple[str, ...] = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The 21 classes of PASCAL VOC; their colours are :func:`palette`."""

VOC_BORDER = 255

SHAPES: tuple[str, ...] = ("background", "disk", "square", "triangle", "ring", "cross", "star", "ellipse")
"""What procedural scenes show; a recipe with fewer classes takes the first ones."""


def palette(count: int) -> tuple[Color, ...]:
    """Return the first ``count`` colours of PASCAL VOC's colour map; the first is black."""
    return tuple(_voc_color(label) for label in range(count))


def classes_of(data: DataSection) -> tuple[ClassEntry, ...]:
    """Return the classes of a recipe's ``data`` section by label, each with a colour; no file is touched.

    Raises:
        NotAvailable: If this version does not know the format.
        RecipeError: If ``ignore_index`` is the label of a class, or masks of colours give two classes one colour.
    """
    match data:
        case FolderData() | CamvidData(classes=tuple()) | VocData(classes=tuple()):
            given: Sequence[ClassEntry] = data.classes or ()
        case CamvidData():
            given = [ClassEntry(name=name, color=color) for name, color in CAMVID]
        case VocData():
            given = [ClassEntry(name=name) for name in VOC]
        case ShapesData():
            given = [ClassEntry(name=name) for name in SHAPES[: data.num_classes]]
        case _:
            raise NotAvailable(f"data.format {data.format!r}")
    if data.ignore_index < len(given):
        raise RecipeError(f"data.ignore_index {data.ignore_index} is also the class {given[data.ignore_index].name!r}")
    if isinstance(data, FolderData) and data.mask_mode == "rgb":
        _refuse_shared_color(data.classes)
    return tuple(
        entry if entry.color is not None else ClassEntry(name=entry.name, color=color)
        for entry, color in zip(given, palette(len(given)), strict=True)
    )


def _refuse_shared_color(classes: Sequence[ClassEntry]) -> None:
    owners: dict[Color | None, str] = {}
    for entry in classes:
        if entry.color in owners:
            raise RecipeError(f"data.classes: {owners[entry.color]!r} and {entry.name!r} share the color {entry.color}")
        owners[entry.color] = entry.name


def _voc_color(label: int) -> Color:
    # The lowest three bits of the label become the highest bits of red, green and blue, the next three the next ones.
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (label & 1) << shift
        green |= (label >> 1 & 1) << shift
        blue |= (label >> 2 & 1) << shift
        label >>= 3
    return red, green, blue
