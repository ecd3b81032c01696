"""``segzoo plugins``."""

from __future__ import annotations

import typer

from segzoo.cli.output import Json, print_rows, print_table
from segzoo.plugins import plugins as list_plugins


def plugins(as_json: Json = False) -> None:
    """List third parties' models with their origin, status and error."""
    rows = list_plugins()
    if as_json:
        print_rows([row.model_dump(mode="json") for row in rows])
    elif rows:
        print_table(
            ("model", "version", "target", "status", "error"),
            [(row.id, row.version or "-", row.target, row.status, row.error or "") for row in rows],
        )
    else:
        typer.echo("no plugins are installed; a package joins with the entry point group segzoo.models", err=True)
