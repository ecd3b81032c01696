"""Names and colours of the classes of known data sets, and colours for classes that have none."""

from __future__ import annotations

from collections.abc import Sequence

from segzoo.errors import RecipeError
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

PETS: tuple[str, ...] = ("pet", "background", "border")
"""The three labels of the trimaps of Oxford-IIIT Pets."""

CITYSCAPES: tuple[tuple[str, Color], ...] = (
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)
"""The 19 classes that the benchmark scores, with the data set's own colours."""

# fmt: off
ADE20K: tuple[str, ...] = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet",
    "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
    "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk",
    "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column", "signboard",
    "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand", "path",
    "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge", "bookcase",
    "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove", "palm",
    "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus", "towel", "light",
    "truck", "tower", "chandelier", "awning", "streetlight", "booth", "television receiver", "airplane", "dirt track",
    "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle", "buffet", "poster", "stage", "van",
    "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything", "swimming pool", "stool", "barrel",
    "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank", "trade name",
    "microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen", "blanket", "sculpture", "hood", "sconce",
    "vase", "traffic light", "tray", "ashcan", "fan", "pier", "crt screen", "plate", "monitor", "bulletin board",
    "shower", "radiator", "glass", "clock", "flag",
)
# fmt: on
"""The 150 classes of the scene parsing benchmark, each by the first of its names."""

SHAPES: tuple[str, ...] = ("background", "disk", "square", "triangle", "ring", "cross", "star", "ellipse")
"""What procedural scenes show; a recipe with fewer classes takes the first ones."""


def palette(count: int) -> tuple[Color, ...]:
    """Return the first ``count`` colours of PASCAL VOC's colour map; the first is black."""
    return tuple(_voc_color(label) for label in range(count))


def classes_of(data: DataSection) -> tuple[ClassEntry, ...]:
    """Return the classes of a recipe's ``data`` section by label, each with a colour; no file is touched.

    Raises:
        RecipeError: If ``ignore_index`` is the label of a class, or masks of colours give two classes one colour.
    """
    given = _own_classes(data)
    if data.ignore_index < len(given):
        raise RecipeError(f"data.ignore_index {data.ignore_index} is also the class {given[data.ignore_index].name!r}")
    if isinstance(data, FolderData) and data.mask_mode == "rgb":
        _refuse_shared_color(data.classes)
    return tuple(
        entry if entry.color is not None else ClassEntry(name=entry.name, color=color)
        for entry, color in zip(given, palette(len(given)), strict=True)
    )


def _own_classes(data: DataSection) -> Sequence[ClassEntry]:
    if not isinstance(data, ShapesData) and data.classes is not None:
        return data.classes
    match data:
        case CamvidData():
            return [ClassEntry(name=name, color=color) for name, color in CAMVID]
        case CityscapesData():
            return [ClassEntry(name=name, color=color) for name, color in CITYSCAPES]
        case VocData():
            return [ClassEntry(name=name) for name in VOC]
        case OxfordPetsData():
            return [ClassEntry(name=name) for name in PETS]
        case Ade20kData():
            return [ClassEntry(name=name) for name in ADE20K]
        case ShapesData():
            return [ClassEntry(name=name) for name in SHAPES[: data.num_classes]]
        case FolderData():
            return data.classes


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
