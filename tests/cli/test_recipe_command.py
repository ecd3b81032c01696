"""``segzoo recipe``: shipped recipes, and checking one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from segzoo.plugins import default_registry
from segzoo.recipe import load_recipe, recipe_json, resolve_recipe
from segzoo.recipe.json_schema import recipe_schema, schema_json
from segzoo.recipe.shipped import shipped_recipes

Run = Callable[..., Result]
Refused = Callable[..., str]


def test_ls(run: Run) -> None:
    """Name, model, data and description of each shipped recipe, as a table and as JSON."""
    result = run("recipe", "ls", "--json")
    content = json.loads(result.stdout)
    assert (result.exit_code, content["schema_version"]) == (0, 1)
    assert [row["name"] for row in content["rows"]] == list(shipped_recipes())
    assert all(list(row) == ["name", "model", "data", "description"] for row in content["rows"])
    (quickstart,) = [row for row in content["rows"] if row["name"] == "quickstart"]
    assert (quickstart["model"], quickstart["data"]) == ("fast_scnn", "shapes")
    lines = run("recipe", "ls").stdout.splitlines()
    assert lines[0].split() == ["name", "model", "data", "description"]
    assert [line.split()[0] for line in lines[1:]] == list(shipped_recipes())


@pytest.mark.parametrize("name", shipped_recipes())
def test_validate_shipped(run: Run, name: str) -> None:
    """Every shipped recipe is valid, by name and by path; the verdict is no data."""
    resolved = resolve_recipe(load_recipe(name), default_registry())
    for recipe in (name, str(shipped_recipes()[name])):
        result = run("recipe", "validate", recipe)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == f"{recipe}: valid ({resolved.model.name} on {resolved.data.format})\n"


def test_show_prints_what_would_run(run: Run) -> None:
    """Defaults are filled in and overrides applied; the output is a recipe again."""
    result = run("recipe", "show", "quickstart", "--set", "train.epochs=3", "--set", "name=mine")
    resolved = resolve_recipe(load_recipe("quickstart", ["train.epochs=3", "name=mine"]), default_registry())
    assert (result.exit_code, result.stdout, result.stderr) == (0, recipe_json(resolved), "")
    Path("mine.json").write_text(result.stdout, encoding="utf-8")
    assert run("recipe", "show", "mine.json").stdout == result.stdout


def test_cp_to_a_file_and_to_a_folder(run: Run) -> None:
    """The copy is the file as shipped, but for the schema's relative address; its path is printed."""
    content = shipped_recipes()["quickstart"].read_bytes()
    content = content.replace(b'\n  "$schema": "../docs/schemas/recipe-1.json",', b"")
    assert b"$schema" not in content
    Path("folder").mkdir()
    for target, path in (("mine.json", "mine.json"), ("folder", "folder/quickstart.json")):
        result = run("recipe", "cp", "quickstart", target)
        assert (result.exit_code, result.stdout) == (0, f"{path}\n")
        assert Path(path).read_bytes() == content
    assert run("recipe", "validate", "mine.json").exit_code == 0


def test_cp_never_overwrites_unasked(run: Run, refused: Refused) -> None:
    """An existing file is kept, with the way out in the message; ``--overwrite`` replaces it."""
    Path("mine.json").write_text("precious")
    told = refused("recipe", "cp", "quickstart", "mine.json")
    assert told == "mine.json exists; choose another name, or pass --overwrite"
    assert Path("mine.json").read_text() == "precious"
    assert run("recipe", "cp", "quickstart", "mine.json", "--overwrite").exit_code == 0
    assert '"name": "quickstart"' in Path("mine.json").read_text()


def test_cp_into_nowhere(refused: Refused) -> None:
    """No folder is made by mistake."""
    assert refused("recipe", "cp", "quickstart", "no/such.json") == "the folder no does not exist"
    assert not Path("no").exists()
    assert refused("recipe", "cp", "quikstart", "x").startswith("no recipe named 'quikstart'. Did you mean 'quicks")


def test_schema(run: Run) -> None:
    """The schema goes to stdout as it is committed; with plugins it describes parameters as well."""
    assert run("recipe", "schema").stdout == schema_json(recipe_schema())
    described = run("recipe", "schema", "--with-plugins").stdout
    assert described == schema_json(recipe_schema(default_registry()))
    assert "decoder_channels" in described


def test_plugins_models_are_checked(run: Run, refused: Refused, offer: Callable[..., Path]) -> None:
    """A third party's parameters are as strict as ours, before any of its network's code is imported."""
    offer("acme-seg", "lite")
    assert run("recipe", "validate", "quickstart", "--set", "model.name=acme-seg/lite").exit_code == 0
    told = refused("recipe", "validate", "quickstart", "--set", "model.name=lite", "--set", "model.params.widht=3")
    assert told == "quickstart: lite: model.params.widht = 3: unknown key. Did you mean 'width'?"


def test_missing_distribution_is_the_environments_fault(refused: Refused) -> None:
    """A recipe whose model or requirement is not installed ends with exit code 3 and what pip needs."""
    told = refused("recipe", "validate", "quickstart", "--set", "model.name=no-such-seg/lite", code=3)
    assert told.endswith("install it with: pip install no-such-seg (your own: pip install --editable FOLDER)")
    told = refused("recipe", "validate", "quickstart", "--set", 'requires=["no-such-seg>=2"]', code=3)
    assert told.endswith("install it with: pip install 'no-such-seg>=2'")
