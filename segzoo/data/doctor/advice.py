"""What follows from a check-up: remarks in words, and a recipe fragment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segzoo.data.classes import CAMVID, CAMVID_VOID
from segzoo.data.doctor.doctor import Checkup, SplitFacts
from segzoo.data.findings import explain_unpaired
from segzoo.recipe.data import ClassEntry, FolderData
from segzoo.recipe.schema import CrossEntropy, LossTerm

LONGEST = 1024
"""Longer sides are scaled down in what is proposed, to what a GPU takes in batches."""
CROP = 512
STEP = 32
"""Models with strides pad what is no multiple of it."""

CAMVID_SIZE = (360, 360, 360, 480, 480, 480)
"""Smallest, median and largest height and width of CamVid as the authors of SegNet published it."""

Fragment = dict[str, Any]
Statistics = tuple[Sequence[float], Sequence[float]]
"""A mean and a standard deviation for each channel, of images in [0, 1]."""


def training_split(checkup: Checkup) -> str | None:
    """Return the split that weights and sizes are taken from: ``train``, else the first."""
    return "train" if "train" in checkup.splits else next(iter(checkup.splits), None)


def class_weights(facts: SplitFacts) -> dict[str, list[float]]:
    """Return the weights of the classes by both formulas that recipes know, rounded to four digits."""
    from segzoo.losses import enet_weights, median_frequency_weights  # torch starts here, when the files are read

    if not any(facts.class_pixels):
        return {}
    weights = {
        "median_frequency": median_frequency_weights(facts.class_pixels, facts.class_presence),
        "enet": enet_weights(facts.class_pixels),
    }
    return {name: [float(f"{weight:.4g}") for weight in values] for name, values in weights.items()}


def make_remarks(checkup: Checkup, expected: Statistics | None) -> list[str]:
    """Return what a person should know, faults of single files apart.

    Args:
        checkup: What was found.
        expected: What the model subtracts from images and divides them by; None where there is no model.
    """
    unpaired = explain_unpaired(finding for _, finding in checkup.findings)
    remarks = [unpaired] if unpaired else []
    for split, facts in checkup.splits.items():
        absent = [entry.name for entry, count in zip(checkup.classes, facts.class_pixels, strict=True) if not count]
        if absent:
            remarks.append(f"{split}: no mask holds {', '.join(map(repr, absent))}")
        if facts.void:
            remarks.append(f"{split}: in {facts.void} of {facts.samples} masks every pixel is ignored")
        elif facts.ignored_share > 0.5:
            remarks.append(f"{split}: {facts.ignored_share:.0%} of all pixels are ignored")
        if expected is not None:
            remarks += [f"{split}: {text}" for text in _compare(facts, expected)]
        if max(facts.heights.largest, facts.widths.largest) > LONGEST:
            remarks.append(
                f"{split}: images of up to {facts.heights.largest}x{facts.widths.largest} pixels; instead of scaling "
                f"them down, data.image_size null with RandomCrop of {CROP}x{CROP} in augment trains on parts"
            )
    return remarks


def remark_on_weights(classes: Sequence[ClassEntry], fragment: Fragment) -> list[str]:
    """Return a remark on the classes that the proposed terms give no weight, where there are such."""
    lists = [term.get("class_weights") for term in fragment.get("loss", ())]
    without = [
        entry.name
        for label, entry in enumerate(classes)
        if any(isinstance(weights, list) and weights[label] == 0 for weights in lists)
    ]
    if not without:
        return []
    one = len(without) == 1
    return [
        f"loss: the class weight of {', '.join(map(repr, without))} is 0: {'it does' if one else 'they do'} not occur "
        f"in training, so {'it' if one else 'they'} would count for nothing"
    ]


def remark_on_camvid(section: object, labels: Mapping[str, int], checkup: Checkup) -> list[str]:
    """Return a remark on a folder that looks like CamVid with indices, whose void would be trained as a class.

    Args:
        section: The data as it was guessed.
        labels: How many masks hold each label or colour.
        checkup: What was found.
    """
    if (
        not isinstance(section, FolderData)
        or section.images is not None
        or section.mask_mode not in ("index", "palette")
    ):
        return []
    known = {str(label) for label in range(CAMVID_VOID + 1)}
    if str(CAMVID_VOID) not in labels or not known.issuperset(labels):
        return []
    sizes = {(facts.heights, facts.widths) for facts in checkup.splits.values()}
    named = "camvid" in Path(section.root).resolve().name.lower()
    if not named and any((*heights, *widths) != CAMVID_SIZE for heights, widths in sizes):
        return []
    return [
        f'this looks like CamVid: data of "format": "camvid" has its {len(CAMVID)} classes by name and ignores the '
        f"void, {CAMVID_VOID}, which is trained as class_{CAMVID_VOID} otherwise"
    ]


def propose(
    checkup: Checkup, weights: Mapping[str, Sequence[float]], *, data: Mapping[str, Any], loss: Sequence[LossTerm]
) -> Fragment:
    """Return the keys of a recipe that the data suggests and that the recipe does not have yet.

    Args:
        checkup: What was found.
        weights: Of the classes, by formula.
        data: The recipe's ``data`` section.
        loss: The recipe's terms; those of cross-entropy without class weights get the median-frequency ones.
    """
    fragment: Fragment = {}
    section: Fragment = {}
    split = training_split(checkup)
    if split is not None and data.get("image_size") is None:
        section["image_size"] = _image_size(checkup.splits[split])
    labels = _labels_to_ignore(checkup)
    if labels and "ignore_labels" in data:
        section["ignore_labels"] = sorted({*data["ignore_labels"], *labels})
    if section:
        fragment["data"] = section
    terms = [term.model_dump(mode="json", exclude_defaults=True) | {"name": term.name} for term in loss]
    bare = [
        dump
        for term, dump in zip(loss, terms, strict=True)
        if isinstance(term, CrossEntropy) and term.class_weights is None
    ]
    if bare and weights:
        for dump in bare:
            dump["class_weights"] = list(weights["median_frequency"])
        fragment["loss"] = terms
    return fragment


def _compare(facts: SplitFacts, expected: Statistics) -> list[str]:
    """Tell of images that the model does not expect: far from its mean, or of another contrast."""
    means, stds = expected
    shifts = [(mean - wanted) / std for mean, wanted, std in zip(facts.mean, means, stds, strict=True)]
    ratios = [found / std for found, std in zip(facts.std, stds, strict=True)]
    told: list[str] = []
    if max(map(abs, shifts)) > 1:
        told.append(
            f"the images have the mean {_numbers(facts.mean)}, the model expects {_numbers(means)}: they are much "
            f"{'brighter' if sum(shifts) > 0 else 'darker'}"
        )
    if not 0.3 <= min(ratios) <= max(ratios) <= 3:
        told.append(f"the images have the standard deviation {_numbers(facts.std)}, the model expects {_numbers(stds)}")
    return told


def _numbers(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.3f}' for value in values)})"


def _image_size(facts: SplitFacts) -> list[int]:
    """Return the median size, as it is where all images have it and all of it can be shown."""
    height, width = facts.heights.median, facts.widths.median
    same = facts.heights.smallest == facts.heights.largest and facts.widths.smallest == facts.widths.largest
    if same and min(height, width) >= STEP and max(height, width) <= LONGEST:
        return [height, width]
    scale = min(1.0, LONGEST / max(height, width))
    return [max(STEP, round(side * scale / STEP) * STEP) for side in (height, width)]


def _labels_to_ignore(checkup: Checkup) -> list[int]:
    """Return the labels outside the classes that are no slip: several masks and a tenth of all hold them."""
    return [label for label, count in checkup.outside.items() if count > 1 and count * 10 >= checkup.samples]
