"""``segzoo show NAME --encoders``."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

import typer

from segzoo.catalog.encoders import (
    Encoder,
    VisionTransformer,
    encoder_weights,
    every_encoder,
    every_vision_transformer,
    weight_variants,
)
from segzoo.catalog.smp import DPTParams, PyramidParams
from segzoo.cli.output import print_rows, print_table
from segzoo.errors import UsageFault, did_you_mean
from segzoo.plugins import default_registry
from segzoo.registry import BUILTIN, Entry
from segzoo.spec import ModelSpec


def chooses_encoder(spec: ModelSpec) -> bool:
    """Say whether a model takes any of the encoders that the catalog knows."""
    return issubclass(spec.params, (PyramidParams, DPTParams)) and "encoder" not in spec.fixed


def show_encoders(entry: Entry, glob: str, *, as_json: bool) -> None:
    """Print the encoders that a model takes with its other parameters at their defaults.

    Raises:
        UsageFault: If the model has no encoder to choose, or none of them matches.
    """
    encoders = _encoders_of(entry)
    rows = [_row(encoder) for encoder in encoders if fnmatch.fnmatchcase(encoder.name, glob)]
    if not rows:
        hint = did_you_mean(glob, [encoder.name for encoder in encoders])
        raise UsageFault(f"no encoder of {entry.name} matches {glob!r}.{hint}")
    if as_json:
        print_rows(rows)
        return
    print_table(("encoder", *list(rows[0])[1:]), [tuple(_text(value) for value in row.values()) for row in rows])
    example = next((f"{row['name']}.{row['variants'][0]}" for row in rows if row["variants"]), None)
    if example is not None:
        typer.echo(f"the name of a variant of the weights goes behind a dot: encoder={example!r}", err=True)


def _encoders_of(entry: Entry) -> Sequence[Encoder | VisionTransformer]:
    spec = entry.spec()
    if not chooses_encoder(spec):
        others = [other.name for other in default_registry() if other.distribution == BUILTIN]
        names = [name for name in others if chooses_encoder(default_registry().resolve(name).spec())]
        raise UsageFault(f"{entry.id} has no encoder to choose; models that have: {', '.join(names)}")
    params = spec.params.model_construct()
    if isinstance(params, PyramidParams):
        return [encoder for encoder in every_encoder() if params.misfit(encoder) is None]
    return every_vision_transformer()


def _row(encoder: Encoder | VisionTransformer) -> dict[str, Any]:
    """Return what is worth knowing of an encoder: its shape, and what ``weights`` and its name can say."""
    shape: dict[str, Any]
    if isinstance(encoder, Encoder):
        shape = {"strides": encoder.strides, "channels": encoder.channels}
    else:
        shape = {"patch": encoder.patch, "blocks": encoder.blocks, "class_token": encoder.class_token}
    return {
        "name": encoder.name,
        **shape,
        "weights": list(encoder_weights(encoder.name)),
        "variants": weight_variants(encoder.name),
    }


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
