"""Commands are known by name and help before their modules are imported."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from segzoo.cli import Commands, app
from segzoo.cli.lazy import load_command

MODULES = {target.partition(":")[0] for target, _ in Commands.table.values()}


def imported_by(*words: str) -> set[str]:
    """Return the modules that a command imports."""
    code = f"import sys; from segzoo.cli import app; app({list(words)!r}, standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_a_command_imports_no_other() -> None:
    """Listing models reads no recipe schema, no templates and no benchmark, and of the commands its own alone."""
    modules = imported_by("list")
    assert modules & MODULES == {"segzoo.cli.list"}
    assert not {"jinja2", "segzoo.recipe", "segzoo.bench", "segzoo.inference", "rich"} & modules


def test_the_help_imports_no_command() -> None:
    """The list of all commands is a table."""
    assert not imported_by("--help") & MODULES


@pytest.mark.parametrize("name", Commands.table)
def test_the_table_says_what_the_command_says(name: str) -> None:
    """The first line of a command's own help stands in the table, too."""
    target, text = Commands.table[name]
    assert load_command(name, target).help.splitlines()[0] == text


def test_names_are_suggested() -> None:
    """A typo is answered from the table."""
    with pytest.raises(typer.exceptions.TyperException, match="Did you mean 'finetune'"):
        app(["finetun"], standalone_mode=False)
