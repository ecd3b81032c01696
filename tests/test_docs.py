"""What README and docs/ show is run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from segzoo.cli import Commands, app
from segzoo.recipe import Recipe
from segzoo.recipe.load import parse_recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# Commands that need what a bare machine lacks are only parsed: data, or minutes.
NEEDS_MORE = (
    *("camvid", "voc_", "mine", "segzoo finetune quickstart --set train.epochs=2"),
    *("segzoo bench --device cuda", "before.jsonl", "fast_scnn.jsonl", "runs/pets", "--picture"),
)

# What takes longer than a second or two: commands with one of these words, and the Python of all pages but these.
LONG = {"bench", "check", "finetune", "--counts", "--receptive-field"}
QUICK_PAGES = {"README.md"}


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Return each command shown after a prompt."""
    shown = [block for page in PAGES for block in blocks(page, "console")]
    return sorted(
        {line[2:].split(" #")[0].strip() for block in shown for line in block.splitlines() if line.startswith("$ ")}
    )


# What deploy.md shows needs an exported file and no torch; test_deploy.py runs it.
PYTHON_PAGES = [page for page in PAGES if blocks(page, "python") and page.name != "deploy.md"]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=() if page.name in QUICK_PAGES else pytest.mark.slow)
        for page in PYTHON_PAGES
    ],
)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    """The Python of a page runs from top to bottom, in an empty folder."""
    script = "\n".join(blocks(page, "python"))
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_json_blocks_are_recipes(page: Path) -> None:
    """Whole recipes on a page are valid."""
    for block in blocks(page, "json"):
        data = parse_recipe(block.encode(), page.name)
        if "recipe_version" in data:
            Recipe.model_validate_json(json.dumps(data))


def needs_more(command: str) -> bool:
    """Tell whether a command cannot run here."""
    return any(part in command for part in NEEDS_MORE)


@pytest.mark.parametrize("command", [command for command in commands() if needs_more(command)])
def test_commands_have_their_options(command: str) -> None:
    """What cannot run here is a command, and its options are that command's."""
    program, *words = shlex.split(command)
    assert program == "segzoo"
    found = root = typer.main.get_command(app)
    while isinstance(found, typer.core.TyperGroup) and words and words[0] in found.commands:
        found = found.get_command(typer.Context(found), words.pop(0))
    assert found is not root
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, id=command, marks=pytest.mark.slow if LONG & set(shlex.split(command)) else ())
        for command in commands()
        if not needs_more(command)
    ],
)
def test_commands_run(command: str, tmp_path: Path) -> None:
    """A command that needs nothing which this machine lacks ends well."""
    program, *words = shlex.split(command)
    assert program == "segzoo"
    done = subprocess.run(
        [sys.executable, "-m", program, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere() -> None:
    """Every relative link of a page is a file."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_is_in_the_help() -> None:
    """The application has the commands that the README names."""
    names = set(Commands.table)
    assert {
        "list",
        "show",
        "plugins",
        "check",
        "new-plugin",
        "env",
        "recipe",
        "data",
        "finetune",
        "lr-find",
        "runs",
        "bench",
        "evaluate",
        "predict",
        "export",
        "push",
        "verify-resume",
    } == names
