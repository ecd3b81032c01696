"""``segzoo show NAME --receptive-field``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segzoo.cli.output import print_rows, print_table
from segzoo.cli.show.examined import CHANNELS, build, looking_into
from segzoo.errors import UsageFault
from segzoo.files import write_atomic
from segzoo.registry import Entry

if TYPE_CHECKING:
    from torch import nn

    from segzoo.analysis.receptive_field import AxisField, LayerField

CLASSES = 2
"""Channels of the logits; all of them see the same."""


def show_receptive_field(entry: Entry, picture: Path | None, *, as_json: bool) -> None:
    """Print the receptive field of a model with its default parameters, and that of each layer with a window.

    Args:
        entry: The model.
        picture: Where the effective receptive field is drawn, or None; only then is it found.
        as_json: Whether to print JSON.

    Raises:
        UsageFault: If the picture is to be no PNG or has no folder, or the model has no receptive field that can be
            found.
        PluginError: If a plugin's code is at fault.
    """
    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageFault(f"--picture {picture}: a PNG is drawn, name it {picture.with_suffix('.png')}")
    if picture is not None and not picture.parent.is_dir():
        raise UsageFault(f"--picture {picture}: there is no folder {picture.parent}")
    with looking_into(entry):
        from segzoo.analysis.receptive_field import receptive_field

        model = build(entry, num_classes=CLASSES)
        found = receptive_field(model, in_channels=CHANNELS)
        effective = None if picture is None else _draw(model, entry.spec().input.min_size, picture)
    if as_json:
        print_rows([{"id": entry.id, **asdict(found), "effective": effective}])
        return
    print_table(
        ("axis", "pixels", "cause"),
        [(name, _pixels(axis), axis.cause) for name, axis in (("height", found.height), ("width", found.width))],
    )
    typer.echo()
    print_table(("layer", "function", "kernel", "stride", "dilation", "pixels"), [_cells(row) for row in found.layers])
    if effective is not None:
        size = effective["size"]
        typer.echo(f"\neffective: {effective['side']:.0f} pixels a side in images of {size}x{size}, random weights")


def _draw(model: nn.Module, smallest: int, path: Path) -> dict[str, Any]:
    from segzoo.analysis.effective_field import SIZE, effective_field, effective_side, picture

    size = max(SIZE, smallest)
    field = effective_field(model, in_channels=CHANNELS, size=size)
    write_atomic(path, picture(field))
    return {"side": effective_side(field), "size": size, "picture": str(path)}


def _pixels(axis: AxisField) -> str:
    if axis.smallest is None:
        return "global"
    return str(axis.smallest) if axis.smallest == axis.largest else f"{axis.smallest}-{axis.largest}"


def _cells(layer: LayerField) -> tuple[str, ...]:
    field = "global" if layer.field is None else str(layer.field)
    return layer.name, layer.kind, _sides(layer.kernel), _sides(layer.stride), _sides(layer.dilation), field


def _sides(pair: tuple[int, int] | None) -> str:
    return "" if pair is None else f"{pair[0]}x{pair[1]}"
