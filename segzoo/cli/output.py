"""How commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

SCHEMA_VERSION = 1

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def plain(stream: Any) -> bool:  # noqa: ANN401 - a text stream, or None where it was closed
    """Say whether a stream gets text without colour, boxes and bars."""
    unable = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return unable or stream is None or not stream.isatty()


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as JSON."""
    typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "rows": list(rows)}, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, aligned text elsewhere."""
    if not plain(sys.stdout):
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table()
        for position, name in enumerate(header):
            table.add_column(name, no_wrap=position == 0, overflow="fold")  # a name is never cut
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    # One line for each row, whatever a plugin's text holds.
    lines = [[" ".join(cell.split()) for cell in row] for row in (header, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
