"""Build the generated tables of ``segzoo/catalog`` from the installed libraries.

``python tests/tables.py`` writes them; ``tests/catalog`` compares the committed files with what this file builds.
"""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
from albumentations.core.composition import BaseCompose
from albumentations.core.transforms_interface import (
    BasicTransform,
    DualTransform,
    ImageOnlyTransform,
    Transform3D,
)

AUGMENTATIONS = Path(__file__).parents[1] / "segzoo" / "catalog" / "augmentations.json"

_NORMALISES = "segzoo itself scales, normalises and converts images"
_SECOND_IMAGE = "it needs other images beside the one that is augmented"
_BOXES = "it needs bounding boxes, and segmentation data has none"
_VOLUME = "it acts on volumes"
_NEST = "list the transforms themselves, or nest them in OneOf, SomeOf or Sequential"
_CODE = "a recipe holds no code"
_NEAREST = "labels must not be blended, so masks are always resampled to the nearest"

REFUSED = {
    "AtLeastOneBBoxRandomCrop": _BOXES,
    "BBoxSafeRandomCrop": _BOXES,
    "ConstrainedCoarseDropout": _BOXES,
    "RandomCropNearBBox": _BOXES,
    "RandomSizedBBoxSafeCrop": _BOXES,
    "FDA": _SECOND_IMAGE,
    "HistogramMatching": _SECOND_IMAGE,
    "Mosaic": _SECOND_IMAGE,
    "OverlayElements": _SECOND_IMAGE,
    "PixelDistributionAdaptation": _SECOND_IMAGE,
    "TextImage": "it needs a text beside each image",
    "FromFloat": _NORMALISES,
    "Normalize": _NORMALISES,
    "ToFloat": _NORMALISES,
    "ToTensor3D": _NORMALISES,
    "ToTensorV2": _NORMALISES,
    "ToRGB": "segzoo reads every image as RGB",
    "Compose": _NEST,
    "OneOrOther": _NEST,
    "RandomOrder": _NEST,
    "ReplayCompose": _NEST,
    "SelectiveChannelTransform": _NEST,
    "FrequencyMasking": "XYMasking does the same",
    "TimeMasking": "XYMasking does the same",
    "TimeReverse": "HorizontalFlip does the same",
    "ShiftScaleRotate": "Affine does the same with 'translate_percent', 'scale' and 'rotate'",
    "Lambda": _CODE,
    "MaskDropout": "it takes every connected region of labels above 0 for one object",
    "GridElasticDeform": "it fills what it uncovers with label 0, and has no argument to change that",
    "Morphological": "it grows labels by their number, not by their meaning",
}
"""Transforms that a recipe cannot use, with the reason that its author is told."""

REFUSED_ARGUMENTS = {
    "area_for_downscale": f"{_NEAREST}; 'interpolation': 3 takes the mean over areas for images",
    "ignore_channels": "masks have one channel",
    "mask": _CODE,
    "mask_interpolation": _NEAREST,
    "mask_params": _CODE,
    "num_output_channels": "images keep their three channels",
}
"""Arguments that a recipe cannot set on any transform, with the reason."""


def augmentations() -> dict[str, Any]:
    """Return the transforms that act on the image and the mask of one sample, and the reasons against the rest."""
    volumes = {name: _VOLUME for name, transform in concrete_transforms().items() if issubclass(transform, Transform3D)}
    refused = REFUSED | volumes
    usable = {name: _arguments(item) for name, item in concrete_transforms().items() if name not in refused}
    return {"transforms": usable, "refused": refused, "refused_arguments": REFUSED_ARGUMENTS}


def concrete_transforms() -> dict[str, type]:
    """Return every transform and composition that albumentations exports, base classes left out."""
    bases = {BaseCompose, BasicTransform, DualTransform, ImageOnlyTransform, Transform3D}
    exported = {name: getattr(A, name) for name in sorted(dir(A))}
    return {
        name: item
        for name, item in exported.items()
        if isinstance(item, type) and issubclass(item, BasicTransform | BaseCompose) and item not in bases
    }


def _arguments(transform: type) -> dict[str, list[str]]:
    parameters = list(inspect.signature(transform).parameters.values())
    usable = [parameter for parameter in parameters if parameter.name not in REFUSED_ARGUMENTS]
    required = {parameter.name for parameter in usable if parameter.default is parameter.empty}
    return {"required": sorted(required), "optional": sorted({parameter.name for parameter in usable} - required)}


def as_text(table: dict[str, Any]) -> str:
    """Return JSON with one line for each entry of each section, so that a change shows as the lines it concerns."""
    sections = []
    for section, entries in table.items():
        lines = [f"    {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(entries.items())]
        sections.append(f"  {json.dumps(section)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(sections) + "\n}\n"


if __name__ == "__main__":
    AUGMENTATIONS.write_text(as_text(augmentations()), encoding="utf-8")
