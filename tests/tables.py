"""Build the generated tables of ``segzoo/catalog`` from the installed libraries.

``python tests/tables.py`` writes them; ``tests/catalog`` compares the committed files with what this file builds.
"""

from __future__ import annotations

import fnmatch
import inspect
import json
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import albumentations as A
import segmentation_models_pytorch as smp
import timm
import torch
from albumentations.core.composition import BaseCompose
from albumentations.core.transforms_interface import (
    BasicTransform,
    DualTransform,
    ImageOnlyTransform,
    Transform3D,
)
from torch import Tensor, nn

from segzoo.catalog.encoders import Encoder
from segzoo.nn.encoder_decoder import EncoderDecoder, drop_dead_parts

CATALOG = Path(__file__).parents[1] / "segzoo" / "catalog"
AUGMENTATIONS = CATALOG / "augmentations.json"
ENCODERS = CATALOG / "encoders.json"
TIMM_ENCODERS = CATALOG / "timm_encoders.json"

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
    "ToRGB": "images have the channels of model.in_channels",
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
    "num_output_channels": "images keep their channels",
}
"""Arguments that a recipe cannot set on any transform, with the reason."""


def augmentations() -> dict[str, Any]:
    """Return the transforms that act on the image and the mask of one sample, and the reasons against the rest."""
    volumes = {name: _VOLUME for name, transform in concrete_transforms().items() if issubclass(transform, Transform3D)}
    refused = REFUSED | volumes
    usable = {name: _arguments(item) for name, item in concrete_transforms().items() if name not in refused}
    return {
        "transforms": usable,
        "refused": dict(sorted(refused.items())),
        "refused_arguments": dict(sorted(REFUSED_ARGUMENTS.items())),
    }


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


IMAGENET, HALF = "imagenet", "half"
NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    IMAGENET: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    HALF: ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "mxnet": ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3),
    "satellite": ((0.43, 0.411, 0.296), (0.213, 0.156, 0.143)),
}
"""Mean and standard deviation of the images that weights were trained with, by the names that the tables use."""

SMP_SOURCES = (
    ("*:ssl", "CC-BY-NC-4.0", IMAGENET),
    ("*:swsl", "CC-BY-NC-4.0", IMAGENET),
    ("*:instagram", "CC-BY-NC-4.0", IMAGENET),
    ("mit_b*", "LicenseRef-NVIDIA-Source-Code-License", IMAGENET),
    ("mobileone*", "LicenseRef-mobileone-license", IMAGENET),
    ("dpn*", "Apache-2.0", "mxnet"),
    ("inception*", "Apache-2.0", HALF),
    ("xception*", "Apache-2.0", HALF),
    ("timm-tf_efficientnet_lite*", "Apache-2.0", HALF),
    ("*efficientnet*:advprop", "Apache-2.0", HALF),
    ("*efficientnet*", "Apache-2.0", IMAGENET),
    ("timm-sk*", "Apache-2.0", IMAGENET),
    ("se*net*", "Apache-2.0", IMAGENET),
    ("*", "BSD-3-Clause", IMAGENET),
)
"""License and normalisation of smp's weights by encoder and tag, the first match counting.

smp from 0.4 on keeps both on the hub alone. The normalisations are those that its version 0.3.4 listed; the licenses
are those of the works that the weights were converted from: torchvision, timm, the authors' own repositories.
"""

SPDX = {"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "cc-by-4.0": "CC-BY-4.0",
        "cc-by-nc-4.0": "CC-BY-NC-4.0", "unknown": "NOASSERTION"}  # fmt: skip
"""SPDX identifiers of the licenses that timm names; what is not listed gets an identifier of its own."""

SIZES = ((32, 32), (64, 96), (96, 160))
ODD_SIZES = ((33, 47), (97, 131))

NO_PYRAMID = "the size of its feature maps does not halve from stage to stage"
NOT_EVERY_SIZE = "it does not take images of every size that is a multiple of 32"
WRONG_PATCHES = "the side of its patches is no power of two, as smp_dpt needs"


def smp_encoders() -> dict[str, Any]:
    """Return the encoders that smp brings itself."""
    names = smp.encoders.get_encoder_names()
    return {
        "normalisations": NORMALISATIONS,
        "encoders": {name: encoder_facts(name) for name in names},
        "weights": {name: smp_weights(name) for name in names},
    }


def smp_weights(name: str) -> dict[str, dict[str, str]]:
    """Return the weights of one of smp's encoders by tag, ImageNet's first."""
    settings = smp.encoders.encoders[name]["pretrained_settings"]
    weights = {}
    for tag in sorted(settings, key=lambda tag: tag != "imagenet"):
        license_, images = next(row[1:] for row in SMP_SOURCES if fnmatch.fnmatch(f"{name}:{tag}", row[0] + "*"))
        source = settings[tag]
        weights[tag] = {"hub": source["repo_id"], "revision": source["revision"], "license": license_, "images": images}
    return weights


def encoder_facts(name: str) -> dict[str, Any] | str:
    """Return what an encoder can do, as :class:`segzoo.catalog.encoders.Encoder` has it, or why it is none."""
    try:
        encoder = build_encoder(name)
    except Exception:  # smp and timm have many ways of saying that a model has no such stages
        return NO_PYRAMID
    if len(encoder.out_channels) != 6:
        return NO_PYRAMID
    dynamic = not all(halves(encoder, size) for size in SIZES)
    if dynamic:
        try:
            encoder = build_encoder(name, dynamic=True)
        except TypeError:  # the model has no such option
            return NOT_EVERY_SIZE
        if not all(halves(encoder, size) for size in SIZES):
            return NOT_EVERY_SIZE
    any_size = all(runs(encoder, size) for size in ODD_SIZES)
    facts = {
        "strides": [*(stride for stride in (8, 16) if dilates(name, stride, dynamic, any_size)), 32],
        "channels": list(encoder.out_channels[1:]),
        "dynamic": dynamic,
        "any_size": any_size,
        "whole": is_whole(encoder),
        "cuts": can_be_cut(build_encoder(name, depth=3, dynamic=dynamic)),
    }
    return {key: value for key, value in facts.items() if value != Encoder._field_defaults.get(key)}


def build_encoder(name: str, *, depth: int = 5, output_stride: int = 32, dynamic: bool = False) -> nn.Module:
    """Return an encoder with random weights on the meta device."""
    arguments: dict[str, Any] = {"depth": depth, "weights": None, "output_stride": output_stride}
    if dynamic:
        arguments["dynamic_img_size"] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                return smp.encoders.get_encoder(name, **arguments)
        except RuntimeError:  # a network that computes while it is built
            return smp.encoders.get_encoder(name, **arguments).to("meta")


def images_of(size: tuple[int, int]) -> Tensor:
    """Return two images on the meta device."""
    return torch.empty(2, 3, *size, device="meta")


def halves(encoder: nn.Module, size: tuple[int, int], *, stride: int = 32) -> bool:
    """Say whether each feature map has half the size of the one before, down to an output stride."""
    try:
        shapes = [tuple(feature.shape[1:]) for feature in encoder(images_of(size))]
    except Exception:  # networks have many ways of saying that they do not take a size
        return False
    steps = [min(2**depth, stride) for depth in range(6)]
    return shapes == [
        (channels, size[0] // step, size[1] // step) for channels, step in zip(encoder.out_channels, steps, strict=True)
    ]


def runs(encoder: nn.Module, size: tuple[int, int]) -> bool:
    """Say whether an encoder takes images of a size that is no multiple of anything."""
    try:
        return len(encoder(images_of(size))) == 6
    except Exception:  # as above
        return False


def dilates(name: str, stride: int, dynamic: bool, any_size: bool) -> bool:
    """Say whether an encoder can be brought to an output stride, for every size that is a multiple of it."""
    try:
        encoder = build_encoder(name, output_stride=stride, dynamic=dynamic)
    except Exception:  # as above, for the output stride
        return False
    sizes = [SIZES[-1], (13 * stride, 17 * stride)] if any_size else [SIZES[-1]]
    return all(halves(encoder, size, stride=stride) for size in sizes)


def is_whole(encoder: nn.Module) -> bool:
    """Say whether the deepest feature depends on every parameter."""
    deepest = encoder(images_of(SIZES[-1]))[-1]
    gradients = torch.autograd.grad(deepest.sum(), list(encoder.parameters()), allow_unused=True)
    return all(gradient is not None for gradient in gradients)


class Deepest(nn.Module):
    """The simplest decoder."""

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the deepest feature."""
        return features[-1]


def can_be_cut(encoder: nn.Module) -> bool:
    """Say whether an encoder still works when the parts that its deepest feature never reads are left out."""
    model = EncoderDecoder(encoder, Deepest(), nn.Identity())
    drop_dead_parts(model, in_channels=3, size=SIZES[-1][0])
    try:
        return is_whole(model.encoder)
    except Exception:  # what is left of a network fails in many ways
        return False


def timm_encoders() -> dict[str, Any]:
    """Return timm's models: the encoders, the vision transformers, their weights, and why the others are neither."""
    names = timm.list_models()
    with ProcessPoolExecutor() as workers:
        facts = dict(zip(names, workers.map(timm_facts, names, chunksize=8), strict=True))
    table: dict[str, Any] = {"normalisations": NORMALISATIONS, "encoders": {}, "transformers": {}, "weights": {}}
    refused: dict[str, list[str]] = {}
    for name, (section, entry) in facts.items():
        if section == "refused":
            refused.setdefault(entry, []).append(f"tu-{name}")
        else:
            table[section][f"tu-{name}"] = entry
            table["weights"][f"tu-{name}"] = timm_weights(name)
    return {**table, "refused": refused}


def timm_facts(name: str) -> tuple[str, Any]:
    """Return the section of the table that a model of timm belongs to, and its entry or the reason against it."""
    as_encoder = encoder_facts(f"tu-{name}")
    if not isinstance(as_encoder, str):
        return "encoders", as_encoder
    as_transformer = transformer_facts(name)
    if isinstance(as_transformer, dict):
        return "transformers", as_transformer
    return "refused", as_transformer or as_encoder


def transformer_facts(name: str) -> dict[str, Any] | str | None:
    """Return what a model of timm can do as DPT's encoder, why it is none, or None where it is another kind of model.

    The facts are those of :class:`segzoo.catalog.encoders.VisionTransformer`.
    """
    try:
        network = build_dpt(name)
    except (AttributeError, TypeError, ValueError):  # it has no position embeddings to interpolate, or no such blocks
        return None
    encoder = network.encoder
    patch = encoder.output_strides[0]
    if set(encoder.output_strides) != {patch}:
        return None
    if patch & (patch - 1):
        return WRONG_PATCHES
    unit = max(patch, 32)
    for size in ((unit, unit), (2 * unit, 3 * unit), (3 * unit, 5 * unit)):
        try:
            shape = network(images_of(size)).shape
        except Exception:  # networks have many ways of saying that they do not take a size
            return NOT_EVERY_SIZE
        if shape[2:] != size:
            return NOT_EVERY_SIZE
    return {"patch": patch, "blocks": len(encoder.model.feature_info), "class_token": encoder.has_prefix_tokens}


def build_dpt(name: str) -> nn.Module:
    """Return smp's DPT on a model of timm, on the meta device."""
    arguments = {"encoder_weights": None, "decoder_readout": "ignore", "dynamic_img_size": True}
    try:
        with torch.device("meta"):
            return smp.DPT(f"tu-{name}", **arguments)
    except (NotImplementedError, RuntimeError):  # a network that computes while it is built
        return smp.DPT(f"tu-{name}", **arguments).to("meta")


def timm_weights(name: str) -> dict[str, dict[str, str]]:
    """Return the weights of a model of timm by tag, timm's default first."""
    configurations = timm.models.get_arch_pretrained_cfgs(name).values()
    published = {config.tag: config for config in configurations if config.hf_hub_id and config.tag}
    default = timm.models.get_pretrained_cfg(name).tag
    weights = {}
    for tag in sorted(published, key=lambda tag: tag != default):
        config = published[tag]
        license_ = config.license or "unknown"
        images = next(key for key, value in NORMALISATIONS.items() if value == (config.mean, config.std))
        weights[tag] = {"license": SPDX.get(license_, f"LicenseRef-{license_}"), "images": images}
        if config.hf_hub_id != f"timm/{name}.{tag}":
            weights[tag]["hub"] = config.hf_hub_id
    return weights


def as_text(table: dict[str, Any]) -> str:
    """Return JSON with one line for each entry of each section, so that a change shows as the lines it concerns."""
    sections = []
    for section, entries in table.items():
        lines = [f"    {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items()]
        sections.append(f"  {json.dumps(section)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(sections) + "\n}\n"


if __name__ == "__main__":
    AUGMENTATIONS.write_text(as_text(augmentations()), encoding="utf-8")
    ENCODERS.write_text(as_text(smp_encoders()), encoding="utf-8")
    TIMM_ENCODERS.write_text(as_text(timm_encoders()), encoding="utf-8")
