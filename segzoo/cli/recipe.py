"""``segzoo recipe ls|show|cp|validate|schema``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from segzoo.cli.complete import recipe_names
from segzoo.cli.output import Json, print_rows, print_table
from segzoo.errors import RecipeError, UsageFault
from segzoo.files import write_atomic
from segzoo.plugins import default_registry
from segzoo.recipe import Recipe, load_recipe, recipe_json, resolve_recipe, resolve_without_weights
from segzoo.recipe.json_schema import recipe_schema, schema_json
from segzoo.recipe.shipped import find_recipe, shipped_recipes

app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes.")

RecipeArgument = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A path, or a name from `segzoo recipe ls`.", autocompletion=recipe_names),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as train.epochs=3.")
]


def read_recipe(recipe: str, overrides: list[str] | None, *, find_weights: bool = True) -> Recipe:
    """Load and resolve a recipe; whatever is wrong with it, its weights too, is said with its name."""
    loaded = load_recipe(recipe, overrides or ())
    try:
        return (
            resolve_recipe(loaded, default_registry())
            if find_weights
            else resolve_without_weights(loaded, default_registry())
        )
    except UsageFault as error:
        raise RecipeError(f"{recipe}: {error}") from None


@app.command("ls")
def ls(as_json: Json = False) -> None:
    """List the recipes that come with segzoo."""
    recipes = {name: load_recipe(path) for name, path in shipped_recipes().items()}
    rows = [
        {"name": name, "model": recipe.model.name, "data": recipe.data.format, "description": recipe.description}
        for name, recipe in recipes.items()
    ]
    if as_json:
        print_rows(rows)
    else:
        print_table(("name", "model", "data", "description"), [tuple(row.values()) for row in rows])


@app.command("show")
def show(recipe: RecipeArgument, set_: SetOption = None) -> None:
    """Print a recipe as it would run: defaults filled in, full ids."""
    typer.echo(recipe_json(read_recipe(recipe, set_)), nl=False)


@app.command("cp")
def cp(
    recipe: RecipeArgument,
    target: Annotated[Path, typer.Argument(help="File or folder to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Copy a recipe, to change it."""
    source = find_recipe(recipe)
    path = target / source.name if target.is_dir() else target
    if path.exists() and not overwrite:
        raise UsageFault(f"{path} exists; choose another name, or pass --overwrite")
    if not path.parent.is_dir():
        raise UsageFault(f"the folder {path.parent} does not exist")
    # The address of the schema is relative to where the recipe was.
    write_atomic(path, re.sub(rb'\n *"\$schema": "\.[^"]*",', b"", source.read_bytes(), count=1))
    typer.echo(path)


@app.command("validate")
def validate(recipe: RecipeArgument, set_: SetOption = None) -> None:
    """Check a recipe without running it: keys, values, model, parameters, transforms, requirements."""
    resolved = read_recipe(recipe, set_)
    typer.echo(f"{recipe}: valid ({resolved.model.name} on {resolved.data.format})", err=True)


@app.command("schema")
def schema(
    with_plugins: Annotated[
        bool, typer.Option("--with-plugins", help="Also describe the parameters of every installed model.")
    ] = False,
) -> None:
    """Print the JSON Schema of a recipe, for editors."""
    typer.echo(schema_json(recipe_schema(default_registry() if with_plugins else None)), nl=False)
