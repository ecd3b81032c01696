"""``segzoo show NAME --counts``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from segzoo.cli.output import print_rows, print_table
from segzoo.cli.show.examined import CHANNELS, build, looking_into
from segzoo.cli.sizes import read_size
from segzoo.registry import Entry

if TYPE_CHECKING:
    from segzoo.analysis.count import Counts, ModuleCounts

DEPTH = 2
"""How many names deep the table goes into a model, as in ``encoder.layer1``; JSON has every module."""


def show_counts(entry: Entry, size: str, *, as_json: bool) -> None:
    """Print what a model with its default parameters is made of, and what one image costs it.

    Args:
        entry: The model.
        size: Height and width of the image in pixels, as ``HxW``.
        as_json: Whether to print JSON.

    Raises:
        UsageFault: If this is no size, or the model does not take such an image.
        PluginError: If a plugin's code is at fault.
    """
    height, width = read_size(size)
    with looking_into(entry):
        from segzoo.analysis.count import CONVENTION, count
        from segzoo.analysis.subject import NUM_CLASSES

        counts = count(build(entry, num_classes=NUM_CLASSES), size=(height, width), in_channels=CHANNELS)
    if as_json:
        shape = {"input": [1, CHANNELS, height, width], "num_classes": NUM_CLASSES}
        print_rows([{"id": entry.id, "convention": CONVENTION, **shape, **asdict(counts)}])
        return
    typer.echo(f"{entry.id}: {CONVENTION}; input 1x{CHANNELS}x{height}x{width}, {NUM_CLASSES} classes\n")
    print_table(("count", "value"), list(_totals(counts)))
    typer.echo()
    print_table(
        ("module", "class", "parameters", "GMACs", "activations", "MiB moved"),
        [_cells(module) for module in counts.modules if _is_told(module)],
    )


def _totals(counts: Counts) -> Iterator[tuple[str, str]]:
    yield "parameters", f"{counts.parameters:,}"
    yield "trainable parameters", f"{counts.trainable:,}"
    for part, elements in counts.parts.items():
        yield f"parameters of {part}", f"{elements:,}"
    yield "parameters only read in training", f"{counts.train_only:,}"
    yield "buffers", f"{counts.buffers:,}"
    yield "GMACs", _giga(counts.macs)
    yield "activations", f"{counts.activations:,}"
    yield "MiB moved", _mebi(counts.bytes_moved)
    yield "operations", f"{counts.operations:,}"
    yield "not counted in GMACs", _times(counts.uncounted) or "none"


def _times(operations: Mapping[str, int]) -> str:
    return ", ".join(f"{name.removeprefix('aten.')} {times}x" for name, times in operations.items())


def _is_told(module: ModuleCounts) -> bool:
    """Leave out the model itself, what lies deep, and what costs nothing."""
    return bool(module.name) and module.name.count(".") < DEPTH and bool(module.parameters or module.bytes_moved)


def _cells(module: ModuleCounts) -> tuple[str, ...]:
    elements = f"{module.parameters:,}", _giga(module.macs), f"{module.activations:,}"
    return module.name, module.kind, *elements, _mebi(module.bytes_moved)


def _giga(macs: int) -> str:
    """Return 10^9 multiply-accumulates to four digits after the point; what is smaller keeps four digits."""
    return f"{macs / 1e9:.4f}" if macs >= 1e8 or not macs else f"{macs / 1e9:.4g}"


def _mebi(count: int) -> str:
    return f"{count / 2**20:,.1f}"
