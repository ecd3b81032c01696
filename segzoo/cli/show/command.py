"""``segzoo show``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from segzoo.cli.complete import model_names
from segzoo.cli.output import Json, print_rows, print_table
from segzoo.cli.show.counts import show_counts
from segzoo.cli.show.encoders import chooses_encoder, show_encoders
from segzoo.cli.show.receptive_field import show_receptive_field
from segzoo.errors import UsageFault
from segzoo.plugins import default_registry
from segzoo.registry import Entry

SIZE = "512x512"


def show(
    name: Annotated[str, typer.Argument(help="Model id or bare name.", autocompletion=model_names)],
    glob: Annotated[str | None, typer.Argument(help="With --encoders: over their names.")] = None,
    encoders: Annotated[
        bool, typer.Option("--encoders", help="Show the encoders that fit the model's defaults, and their weights.")
    ] = False,
    receptive_field: Annotated[
        bool, typer.Option("--receptive-field", help="Show how much of an image each layer and each output depends on.")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --receptive-field: draw the effective receptive field as a PNG.", dir_okay=False
        ),
    ] = None,
    counts: Annotated[
        bool, typer.Option("--counts", help="Show elements, multiply-accumulates and bytes, in all and by module.")
    ] = False,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help=f"With --counts: the image's height and width; {SIZE}.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show one model: parameters, weights, input, sources; its encoders; what it costs and sees."""
    registry = default_registry()
    entry = registry.resolve(name)
    _refuse_combinations(encoders=encoders, receptive_field=receptive_field, counts=counts)
    if picture is not None and not receptive_field:
        raise UsageFault(f"--picture {picture} draws a receptive field: add --receptive-field")
    if size is not None and not counts:
        raise UsageFault(f"--size {size} is the size of an image that is counted: add --counts")
    if encoders:
        show_encoders(entry, glob or "*", as_json=as_json)
        return
    if glob is not None:
        raise UsageFault(f"{glob!r} is left over: show takes one model, and a glob over encoders only with --encoders")
    if receptive_field:
        show_receptive_field(entry, picture, as_json=as_json)
    elif counts:
        show_counts(entry, size or SIZE, as_json=as_json)
    else:
        _show_spec(entry, registry.info(entry).status, as_json=as_json)


def _refuse_combinations(**views: bool) -> None:
    chosen = [f"--{name.replace('_', '-')}" for name, wanted in views.items() if wanted]
    if len(chosen) > 1:
        raise UsageFault(f"{' and '.join(chosen)} show different things: give one of them")


def _show_spec(entry: Entry, status: str, *, as_json: bool) -> None:
    row = _row(entry, status)
    if as_json:
        print_rows([row])
        return
    params = row.pop("params")
    print_table(
        ("field", "value"), [(field, _text(value)) for field, value in row.items() if value not in (None, [], {})]
    )
    typer.echo()
    if not params:
        typer.echo("no parameters")
        return
    print_table(
        ("parameter", "type", "default", "meaning"),
        [
            (
                key,
                _type(part),
                json.dumps(part["default"]) if "default" in part else "required",
                _meaning(entry, key, part),
            )
            for key, part in params.items()
        ],
    )


def _row(entry: Entry, status: str) -> dict[str, Any]:
    spec = entry.spec()
    return {
        "id": entry.id,
        "distribution": entry.distribution,
        "version": entry.version,
        "status": status,
        **spec.model_dump(mode="json", exclude={"params", "name"}),
        "params": {
            **spec.params.model_json_schema().get("properties", {}),
            **{name: {"const": value, "default": value} for name, value in spec.fixed.items()},
        },
    }


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _meaning(entry: Entry, key: str, part: dict[str, Any]) -> str:
    meaning: str = part.get("description", "")
    if key == "encoder" and chooses_encoder(entry.spec()):
        meaning += f" All of them: segzoo show {entry.name} --encoders"
    return meaning


def _type(part: dict[str, Any]) -> str:
    """Return a parameter's JSON type or choices in a few letters."""
    if "const" in part:
        return json.dumps(part["const"])
    if "enum" in part:
        return " | ".join(json.dumps(choice) for choice in part["enum"])
    if "anyOf" in part:
        return " | ".join(_type(option) for option in part["anyOf"])
    return str(part.get("type", "any"))
