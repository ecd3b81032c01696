"""The recipes that come with segzoo: in the wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

from segzoo.errors import RecipeError, UnknownName, did_you_mean


def shipped_recipes() -> dict[str, Path]:
    """Return the shipped recipes by name."""
    package = Path(__file__).parents[1]
    installed = package / "_recipes"
    folder = installed if installed.is_dir() else package.parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


def find_recipe(source: str | Path) -> Path:
    """Return the path of a recipe given as a path or as a shipped recipe's name.

    Raises:
        RecipeError: If the path does not exist.
        UnknownName: If no shipped recipe has the name.
    """
    path = Path(source)
    if path.is_file():
        return path
    shipped = shipped_recipes()
    if str(source) in shipped:
        return shipped[str(source)]
    if path.is_dir():
        inside = path / "recipe.json"  # as in runs
        hint = f" Did you mean {str(inside)!r}?" if inside.is_file() else ""
        raise RecipeError(f"{path} is a folder; a recipe is a JSON file.{hint}")
    if path.suffix or len(path.parts) > 1:
        beside = [other.name for other in path.parent.glob("*.json")]
        raise RecipeError(f"no recipe file {path}.{did_you_mean(path.name, [*beside, *shipped])}")
    file = path.with_name(f"{path.name}.json") if path.name else path
    if file.is_file():
        raise RecipeError(f"no recipe named {str(source)!r}. Did you mean the file {str(file)!r}?")
    raise UnknownName("recipe", str(source), shipped)
