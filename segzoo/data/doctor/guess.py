"""The ``data`` section of a folder that no recipe describes: its layout, how its masks are read, and their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from segzoo.data.examine import Watch, unwatched
from segzoo.data.files.images import MaskMode, read_image, read_mask
from segzoo.data.findings import FileFault, printable
from segzoo.data.formats.camvid import ORIGINAL
from segzoo.data.formats.folder import split_names
from segzoo.data.formats.pairs import Found, join, pair_folders
from segzoo.data.formats.voc import find_voc
from segzoo.data.source import Pixels
from segzoo.errors import DataError, MissingDataError
from segzoo.recipe.data import CamvidData, ClassEntry, FolderData, VocData

Color = tuple[int, int, int]

LAYOUTS = (
    "<root>/<split>/images and <root>/<split>/masks, <root>/images and <root>/masks, PASCAL VOC's, "
    "or CamVid's as it is distributed"
)
WHOLE = "all"
"""The name of the one split of data without splits."""

PARTS = {"train": 0.8, "val": 0.2}
"""What is proposed where there is no split to train on."""

_ALIASES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_MOST_CLASSES = 254


class Guess(NamedTuple):
    """What a folder seems to be.

    Args:
        section: The data as it is checked, in the splits that the folders have.
        proposal: The keys of the section for a recipe, which needs a split to train on.
        labels: How many masks hold each label or colour, as text; nothing for VOC and CamVid, whose classes are known.
    """

    section: FolderData | VocData | CamvidData
    proposal: dict[str, Any]
    labels: dict[str, int]


class Look(NamedTuple):
    """What one mask holds: labels, or colours."""

    labels: frozenset[int] = frozenset()
    colors: frozenset[Color] = frozenset()


def guess_section(root: Path, *, watch: Watch = unwatched) -> Guess:
    """Return what a folder seems to be, after a look at all of its masks.

    Args:
        root: The folder.
        watch: Told how many masks there are to look at.

    Raises:
        MissingDataError: If the folder is not there.
        DataError: If its layout is unknown, or no recipe could hold the name of a folder.
    """
    if not root.is_dir():
        raise MissingDataError(f"there is no folder {root}")
    _refuse_bytes(str(root))
    known = _guess_voc(root) or _guess_camvid(root)
    if known is not None:
        return known
    official = split_names(root)
    _refuse_bytes(*official)
    if official:
        found = join(pair_folders(root / split / "images", root / split / "masks") for split in official)
        place: dict[str, Any] = {"root": str(root), "splits": {split: split for split in official}}
        splits = _with_train(official)
    elif (root / "images").is_dir() and (root / "masks").is_dir():
        found = pair_folders(root / "images", root / "masks")
        place = {"root": str(root), "images": "images", "masks": "masks", "splits": {WHOLE: 1.0}}
        splits = PARTS
    else:
        raise DataError(
            f"{root} is laid out in no known way: expected {LAYOUTS}; or check a recipe that names the format"
        )
    looks = _look_at_all(found, watch)
    content = _read_as(looks, found)
    section = FolderData(**place, **content)
    proposal = section.model_dump(mode="json", exclude_unset=True) | {"format": "folder", "splits": dict(splits)}
    return Guess(section, proposal, _tally(looks))


def _guess_voc(root: Path) -> Guess | None:
    year: Literal["2007", "2012"] = "2012"
    if any((root / inside / "VOC2007").is_dir() for inside in ("VOCdevkit", ".")) or "2007" in root.resolve().name:
        year = "2007"
    lists = find_voc(root, year)
    if lists is None:
        return None
    named = sorted(path.stem for path in (lists / "ImageSets" / "Segmentation").glob("*.txt"))
    if not named:
        raise DataError(
            f"{lists / 'ImageSets' / 'Segmentation'} has no list of a split: expected train.txt and val.txt"
        )
    # What is listed in train and val is listed in trainval again.
    official = [split for split in ("train", "val") if split in named] or named
    section = VocData(root=str(root), year=year, splits={split: split for split in official})
    proposal = {"format": "voc", "root": str(root), "year": year, "splits": _with_train(official)}
    return Guess(section, proposal, {})


def _guess_camvid(root: Path) -> Guess | None:
    if not all((root / folder).is_dir() for folder in ORIGINAL):
        return None
    section = CamvidData(root=str(root), splits={WHOLE: 1.0})
    return Guess(section, {"format": "camvid", "root": str(root), "splits": dict(PARTS)}, {})


def _refuse_bytes(*names: str) -> None:
    """Refuse what is no UTF-8: recipes are, and could not name it."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"the name of the folder {printable(name)} is not UTF-8, and no recipe could hold it; rename the folder"
            ) from None


def _with_train(official: Sequence[str]) -> dict[str, str] | dict[str, float]:
    """Return splits under the names that recipes use, or fractions where none is there to train on."""
    named = {_ALIASES.get(split.lower(), split): split for split in official}
    if "train" in named:
        return named
    return PARTS if len(official) == 1 else {"train": official[0], **{split: split for split in official[1:]}}


def _look_at_all(found: Found, watch: Watch) -> list[Look]:
    masks = [sample.mask for sample in found.samples if sample.mask is not None]
    advance = watch("looking at masks", len(masks))
    looks = []
    with ThreadPoolExecutor() as pool:
        for look in pool.map(_look, masks):
            looks.append(look)
            advance()
    return looks


def _look(mask: Path) -> Look:
    """Return what a mask holds; nothing where it cannot be read, which the check tells."""
    try:
        return Look(labels=frozenset(np.unique(read_mask(mask, "index", ())).tolist()))
    except FileFault as error:
        if error.finding.kind != "colour_mask":
            return Look()
    try:
        return Look(colors=_colors(read_image(mask)))
    except FileFault:
        return Look()


def _colors(image: Pixels) -> frozenset[Color]:
    codes = np.unique(image.astype(np.int32) @ np.array([65536, 256, 1], np.int32))
    # As many colours are no classes; the first ones tell as much.
    return frozenset((code >> 16, code >> 8 & 255, code & 255) for code in codes[: 2 * _MOST_CLASSES].tolist())


def _read_as(looks: Sequence[Look], found: Found) -> dict[str, Any]:
    """Return the mask mode and the classes that most of the masks speak for."""
    labelled = [look.labels for look in looks if look.labels]
    colored = [look.colors for look in looks if look.colors]
    if len(colored) > len(labelled):
        return _colored(colored)
    binary = [labels for labels in labelled if labels <= {0, 255}]
    if 2 * len(binary) > len(labelled) and any(255 in labels for labels in binary):
        return _two_classes()
    counts = Counter(label for labels in labelled for label in labels)
    classes, ignored = _classes(counts, len(labelled))
    content: dict[str, Any] = {"classes": classes, "mask_mode": _index_mode(found)}
    return content | ({"ignore_labels": ignored} if ignored else {})


def _two_classes() -> dict[str, Any]:
    return {"classes": (ClassEntry(name="background"), ClassEntry(name="foreground")), "mask_mode": "binary"}


def _colored(masks: Sequence[frozenset[Color]]) -> dict[str, Any]:
    counts = Counter(color for colors in masks for color in colors)
    if counts.keys() <= {_BLACK, _WHITE}:
        return _two_classes()
    # A slip in one mask of many is no class.
    usual = [color for color, count in counts.most_common(_MOST_CLASSES) if count > 1 or len(masks) < 10]
    colors = sorted(usual) if len(usual) > 1 else [_BLACK, _WHITE]
    entries = (ClassEntry(name="color_{}_{}_{}".format(*color), color=color) for color in colors)
    return {"classes": tuple(entries), "mask_mode": "rgb"}


def _classes(counts: Counter[int], masks: int) -> tuple[tuple[ClassEntry, ...], tuple[int, ...]]:
    """Return a class for each label up to the largest that fits in, and labels far off that many masks hold."""
    count, ignored = 0, []
    for label in sorted(counts.keys() - {255}):
        far = label - count
        if far > max(8, count) or (far > 0 and counts[label] == 1 and masks >= 10):
            ignored += [label] if counts[label] > 1 and counts[label] * 10 >= masks else []
        else:
            count = label + 1
    return tuple(ClassEntry(name=f"class_{label}") for label in range(max(2, count))), tuple(ignored)


def _index_mode(found: Found) -> MaskMode:
    """Return ``palette`` where the first masks that can be read have one."""
    for sample in found.samples[:5]:
        if sample.mask is not None:
            try:
                read_mask(sample.mask, "palette", ())
            except FileFault:
                return "index"
    return "palette"


def _tally(looks: Sequence[Look]) -> dict[str, int]:
    labels = Counter(label for look in looks for label in look.labels)
    colors = Counter(color for look in looks for color in look.colors)
    told = {str(label): labels[label] for label in sorted(labels)}
    return told | {"{}, {}, {}".format(*color): count for color, count in colors.most_common(_MOST_CLASSES)}
