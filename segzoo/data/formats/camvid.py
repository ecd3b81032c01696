"""CamVid: street scenes with the 11 classes of the SegNet papers, as indices or as the data set's own 32 colours."""

from __future__ import annotations

from pathlib import Path

from segzoo.data.classes import CAMVID, CAMVID_VOID, Color, classes_of
from segzoo.data.files.images import read_mask
from segzoo.data.findings import FileFault, Finding
from segzoo.data.formats.files import PairSource
from segzoo.data.formats.folder import all_splits, find_root, official_split
from segzoo.data.formats.pairs import Found, deal, pair_folders
from segzoo.data.source import Sample
from segzoo.errors import DataError, RecipeError
from segzoo.recipe.data import CamvidData, ClassEntry

ORIGINAL = ("701_StillsRaw_full", "LabeledApproved_full")
"""The folders of images and masks as the data set is distributed; its masks' names end in ``_L``."""

COLORS: dict[str, tuple[Color, ...]] = {
    "sky": ((128, 128, 128),),
    # Building, wall, bridge, tunnel, archway.
    "building": ((128, 0, 0), (64, 192, 0), (0, 128, 64), (64, 0, 64), (192, 0, 128)),
    # Pole, traffic cone.
    "pole": ((192, 192, 128), (0, 0, 64)),
    # Road, lane markings of both kinds.
    "road": ((128, 64, 128), (128, 0, 192), (192, 0, 64)),
    # Sidewalk, parking block, road shoulder.
    "pavement": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),
    # Tree, other vegetation.
    "tree": ((128, 128, 0), (192, 192, 0)),
    # Sign, other text, traffic light.
    "sign_symbol": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),
    "fence": ((64, 64, 128),),
    # Car, pickup, truck or bus, train, other moving things.
    "car": ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
    # Pedestrian, child, pram, animal.
    "pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
    # Bicyclist, motorcycle.
    "bicyclist": ((0, 128, 192), (192, 0, 192)),
    "void": ((0, 0, 0),),
}
"""The 32 colours under the classes that they are merged into (as for arXiv:1511.00561)."""


LOOKS = 9
"""About how many masks are read to tell indices from colours."""


def list_camvid(data: CamvidData, *, seed: int, in_channels: int) -> tuple[PairSource, tuple[Finding, ...]]:
    """Find the pairs of files of a ``camvid`` section.

    Raises:
        DataError: If a folder is missing.
        RecipeError: If masks of colours are to have other classes than CamVid's.
    """
    classes = classes_of(data)
    root = find_root(data.root)
    splits, findings = deal(data.splits, lambda split: _either(root, split), lambda: _everything(root), seed=seed)
    if _has_colors(splits):
        if data.classes is not None:
            raise RecipeError("data.classes: CamVid's colour masks are merged into its 11 classes; leave the key out")
        entries = tuple(ClassEntry(name=f"{name}_{place}", color=color) for name, place, color in _flat())
        places = {name: label for label, (name, _) in enumerate(CAMVID)}
        labels = tuple(places.get(name, CAMVID_VOID) for name, _, _ in _flat())
        source = PairSource(
            classes,
            data.ignore_index,
            splits,
            "rgb",
            (*data.ignore_labels, CAMVID_VOID),
            in_channels=in_channels,
            file_classes=entries,
            labels=labels,
        )
        return source, findings
    # A recipe with twelve classes of its own makes the void one of them.
    void = (CAMVID_VOID,) if len(classes) <= CAMVID_VOID else ()
    ignored = (*data.ignore_labels, *void)
    return PairSource(classes, data.ignore_index, splits, "index", ignored, in_channels=in_channels), findings


def _flat() -> list[tuple[str, int, Color]]:
    return [(name, place, color) for name, colors in COLORS.items() for place, color in enumerate(colors)]


def _either(root: Path, split: str) -> Found:
    """Pair a split's files, whether or not the masks' names end in ``_L``."""
    if _is_original(root):
        raise DataError(
            f"{root} has no split {split!r}: {' and '.join(ORIGINAL)}, as CamVid is distributed, have no splits; "
            "give data.splits as fractions, or sort the files into <split>/images and <split>/masks"
        )
    plain = official_split(root, split)
    return plain if plain.samples else official_split(root, split, mask_end="_L")


def _everything(root: Path) -> Found:
    if _is_original(root):
        images, masks = (root / name for name in ORIGINAL)
        return pair_folders(images, masks, mask_end="_L")
    plain = all_splits(root)
    return plain if plain.samples else all_splits(root, mask_end="_L")


def _is_original(root: Path) -> bool:
    return all((root / name).is_dir() for name in ORIGINAL)


def _has_colors(splits: dict[str, tuple[Sample, ...]]) -> bool:
    """Return whether most of a few masks hold colours: a single one may be a slip, which is told where it is read."""
    masks = [sample.mask for samples in splits.values() for sample in samples if sample.mask is not None]
    votes = []
    for mask in masks[:: max(1, len(masks) // LOOKS)]:
        try:
            read_mask(mask, "index", ())
            votes.append(False)
        except FileFault as error:
            if error.finding.kind == "colour_mask":
                votes.append(True)
    return 2 * sum(votes) > len(votes)
