"""A group of commands whose modules are imported when a command is used, not when the application starts."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from segzoo.cli.output import plain

MARKUP: Literal["rich"] | None = None if plain(sys.stdout) or plain(sys.stderr) else "rich"
"""How typer draws help: boxes on a terminal, plain text elsewhere."""


class LazyGroup(TyperGroup):
    """Knows its commands by name and help; a subclass lists them in ``table``.

    Each value is ``module:attribute`` with a function or a ``typer.Typer``, and the first line of the command's help.
    """

    table: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - typer's own arguments
        super().__init__(*arguments, **options)
        self.commands.update({name: TyperCommand(name, help=text) for name, (_, text) in self.table.items()})
        self._loaded: dict[str, Any] = {}
        self._helping = False

    def format_help(self, *arguments: Any) -> None:  # noqa: ANN401 - typer's own arguments
        """Print the help, for which names and first lines are enough."""
        self._helping = True
        try:
            super().format_help(*arguments)
        finally:
            self._helping = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - typer's own types
        """Return a command, importing its module."""
        if self._helping or cmd_name not in self.table:
            return super().get_command(ctx, cmd_name)
        if cmd_name not in self._loaded:
            self._loaded[cmd_name] = load_command(cmd_name, self.table[cmd_name][0])
        return self._loaded[cmd_name]


def load_command(name: str, target: str) -> Any:  # noqa: ANN401 - typer's own types
    """Import ``module:attribute`` and return it as a command of this name."""
    module, _, attribute = target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    app = typer.Typer(add_completion=False, rich_markup_mode=MARKUP)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
    else:
        app.command(name)(found)
    return get_group(app).commands[name]
