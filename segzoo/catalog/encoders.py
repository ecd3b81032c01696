"""The encoders that the architectures of smp take: what each can do, and its pretrained weights.

Two committed tables hold them, so that a name is checked without torch: ``encoders.json`` the encoders that smp brings
itself, ``timm_encoders.json`` the models of timm, each under the name ``tu-<model>`` or ``tu-<model>.<tag>``. The
second is read only for such a name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from segzoo.errors import did_you_mean
from segzoo.spec import InputSpec, Weights

TIMM = "tu-"
SHOWN = 6
"""How many names a message lists."""


class Encoder(NamedTuple):
    """What an encoder with feature maps at falling resolution can do.

    Args:
        name: Its name, without a tag.
        strides: Output strides that it can be brought to; below 32 its last stages are dilated.
        channels: Channels of its five feature maps, from a half to 1/32 of the image's size; 0 where it has none,
            as transformers begin at a quarter.
        dynamic: Whether timm must be told that its images will have many sizes.
        any_size: Whether it takes images of any size, not only multiples of 32.
        whole: Whether its deepest feature depends on all of its parameters.
        cuts: Whether the stages behind the one that is read last can be left out.
    """

    name: str
    strides: list[int]
    channels: list[int]
    dynamic: bool = False
    any_size: bool = True
    whole: bool = True
    cuts: bool = True


class VisionTransformer(NamedTuple):
    """A vision transformer whose feature maps all have the same size.

    Args:
        name: Its name, without a tag.
        patch: Side of a patch in pixels, and so the stride of its feature maps.
        blocks: Number of its blocks; each can give a feature map.
        class_token: Whether it has a token beside those of the patches.
    """

    name: str
    patch: int
    blocks: int
    class_token: bool


def find_encoder(name: str) -> Encoder:
    """Return what is known of an encoder.

    Raises:
        ValueError: If there is none of this name, with the nearest ones; if the model is no such encoder, with the
            reason; or if it has no such tag.
    """
    base, entry = _lookup("encoders", name)
    return Encoder(base, **entry)


def find_vision_transformer(name: str) -> VisionTransformer:
    """Return what is known of a vision transformer.

    Raises:
        ValueError: As :func:`find_encoder`.
    """
    base, entry = _lookup("transformers", name)
    return VisionTransformer(base, **entry)


def every_encoder() -> list[Encoder]:
    """Return what is known of every encoder, smp's own first."""
    return [Encoder(name, **entry) for name, entry in _all("encoders").items()]


def every_vision_transformer() -> list[VisionTransformer]:
    """Return what is known of every vision transformer."""
    return [VisionTransformer(name, **entry) for name, entry in _all("transformers").items()]


def names_of_encoders(condition: Callable[[Encoder], bool]) -> str:
    """Return the first names of the encoders that meet a condition, and how many there are."""
    names = [encoder.name for encoder in every_encoder() if condition(encoder)]
    return f"{', '.join(names[:SHOWN])}, ... ({len(names)} in all)"


def pretrained(name: str, *, min_size: int) -> dict[str, Any]:
    """Return the fields of a :class:`~segzoo.spec.ModelSpec` that an encoder decides on.

    Args:
        name: The encoder, with or without a tag.
        min_size: Smallest height and width in pixels that the network takes.
    """
    weights = encoder_weights(name)
    default = next(iter(weights), None)
    return {"weights": weights, "default_weights": default, "input": encoder_input(name, min_size=min_size)}


@cache
def encoder_weights(name: str) -> dict[str, Weights]:
    """Return the pretrained weights of an encoder by tag, the default first.

    A model of timm has one tag, ``imagenet``: the weights that its name has behind the dot, or else timm's default.
    Weights that need another normalisation of images than the default are left out.
    """
    sources = _sources(name)
    if not sources:
        return {}
    default = next(iter(sources.values()))
    return {tag: _weights(source) for tag, source in sources.items() if source["images"] == default["images"]}


def weight_variants(name: str) -> list[str]:
    """Return what the name of an encoder may have behind a dot, timm's default first; smp's own encoders have none."""
    base = name.partition(".")[0]
    return list(_table_of(base)["weights"].get(base, {})) if base.startswith(TIMM) else []


def encoder_input(name: str, *, min_size: int) -> InputSpec:
    """Return the input that an encoder's default weights were trained with."""
    table = _table("timm_encoders.json" if name.startswith(TIMM) else "encoders.json")
    default = next(iter(_sources(name).values()), None)
    if default is None:
        return InputSpec(min_size=min_size)
    mean, std = table["normalisations"][default["images"]]
    return InputSpec(mean=tuple(mean), std=tuple(std), min_size=min_size)


def _lookup(section: str, name: str) -> tuple[str, dict[str, Any]]:
    """Return an encoder's name without its tag, and its entry."""
    base, dot, tag = name.partition(".")
    table = _table_of(name)
    entry: dict[str, Any] | None = table.get(section, {}).get(base)
    if entry is None:
        raise ValueError(_why_not(section, base))
    if dot and not (base.startswith(TIMM) and tag in table["weights"][base]):
        raise ValueError(_why_no_tag(base, tag))
    return base, entry


def _why_not(section: str, base: str) -> str:
    """Return why there is no encoder of this name in a section."""
    other = "transformers" if section == "encoders" else "encoders"
    if base in _all(other):
        return f"{base!r} cannot be used here: {_OTHER_KIND[section]}"
    reasons = _table("timm_encoders.json")["refused"]
    for reason, names in reasons.items():
        if base in names:
            return f"{base!r} cannot be an encoder: {reason}"
    names = list(_all(section))
    beginning = [name for name in names if base and name.startswith(base)]
    return f"no encoder named {base!r}.{did_you_mean(base, beginning) or did_you_mean(base, names)}"


_OTHER_KIND = {
    "encoders": "its feature maps all have the same size; smp_dpt takes it",
    "transformers": "smp_dpt needs a plain vision transformer, such as 'tu-vit_base_patch16_224'",
}


def _why_no_tag(base: str, tag: str) -> str:
    if not base.startswith(TIMM):
        return f"{base!r} takes no tag behind a dot; name its weights instead, such as weights='imagenet'"
    tags = _table_of(base)["weights"][base]
    return f"{base!r} has no weights {tag!r}.{did_you_mean(tag, tags)} It has {', '.join(tags) or 'none'}."


def _sources(name: str) -> dict[str, dict[str, str]]:
    """Return where the weights of an encoder come from by tag, the default first."""
    base, dot, tag = name.partition(".")
    sources: dict[str, dict[str, str]] = _table_of(name)["weights"].get(base, {})
    if not base.startswith(TIMM) or not sources:
        return sources
    chosen = tag if dot else next(iter(sources))
    return {"imagenet": {"hub": f"timm/{base.removeprefix(TIMM)}.{chosen}", **sources[chosen]}}


def _weights(source: dict[str, str]) -> Weights:
    # timm does not pin its repositories.
    return Weights(
        hub=source["hub"],
        revision=source.get("revision", "main"),
        license=source["license"],
        part="encoder",
        layout="own" if "revision" in source else "timm",
    )


def _all(section: str) -> dict[str, dict[str, Any]]:
    return {**_table("encoders.json").get(section, {}), **_table("timm_encoders.json")[section]}


def _table_of(name: str) -> dict[str, dict[str, Any]]:
    return _table("timm_encoders.json" if name.startswith(TIMM) else "encoders.json")


@cache
def _table(file: str) -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = json.loads(resources.files("segzoo.catalog").joinpath(file).read_text("utf-8"))
    return content
