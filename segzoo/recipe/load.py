"""Reading recipes without trusting them, and writing them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from segzoo.errors import RecipeError
from segzoo.files import sha256_bytes
from segzoo.messages import explain
from segzoo.recipe.augment import check_augment
from segzoo.recipe.overrides import apply_overrides
from segzoo.recipe.schema import Recipe
from segzoo.recipe.shipped import find_recipe
from segzoo.recipe.strict_json import read_json

MAX_BYTES = 1 << 20


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe.

    Args:
        source: A path, or the name of a recipe that segzoo ships.
        overrides: Assignments such as ``"train.epochs=3"``, applied before validation.

    Raises:
        RecipeError: If the file cannot be read, an override names no key, or the schema refuses a value; the message
            names the file, the path inside it, the value, and the nearest valid name.
    """
    path = find_recipe(source)
    data = apply_overrides(parse_recipe(_read(path), str(path)), overrides)
    try:
        recipe = Recipe.model_validate_json(json.dumps(data))
        check_augment(recipe.augment, in_channels=recipe.model.in_channels)
    except ValidationError as error:
        raise RecipeError(_with_origin(path, explain(error, Recipe, data), overrides)) from None
    except RecipeError as error:
        raise RecipeError(_with_origin(path, str(error), overrides)) from None
    return recipe


def parse_recipe(content: bytes, name: str) -> dict[str, Any]:
    """Return the object in a recipe's bytes, read without trust.

    Args:
        content: UTF-8 without a byte order mark.
        name: What the messages call it.

    Raises:
        RecipeError: If the bytes are not such JSON.
    """
    try:
        if content.startswith(b"\xef\xbb\xbf"):
            raise ValueError("it begins with a byte order mark; save it as plain UTF-8")
        data = read_json(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RecipeError(f"{name}: not UTF-8: byte {error.start} is 0x{content[error.start]:02x}") from None
    except ValueError as error:
        raise RecipeError(f"{name}: not a recipe: {error}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{name}: a recipe is a JSON object, got {type(data).__name__}")
    return data


def recipe_json(recipe: Recipe) -> str:
    """Return a recipe as JSON with every default filled in; reading it gives an equal recipe."""
    data = recipe.model_dump(mode="json", by_alias=True)
    data["augment"] = [entry.model_dump(mode="json", exclude_none=True) for entry in recipe.augment]
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def recipe_sha256(recipe: Recipe) -> str:
    """Return the checksum of a recipe's content, defaults included."""
    return sha256_bytes(recipe_json(recipe).encode())


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{path}: larger than {MAX_BYTES // 1024} KiB, which no recipe is")
    return content


def _with_origin(path: Path, problems: str, overrides: Sequence[str]) -> str:
    """Say of each problem whether the file or the command line is at fault."""
    given = tuple(override.partition("=")[0] for override in overrides)
    lines = problems.splitlines()
    typed = [line for line in lines if line.startswith(tuple(f"{key}{after}" for key in given for after in " .:"))]
    if len(typed) == len(lines):
        return "\n".join(f"--set {line}" for line in lines)
    return f"{path}: {lines[0]}" if len(lines) == 1 else "\n  ".join([f"{path}:", *lines])
