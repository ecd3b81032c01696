"""A recipe's file is read without trust, and what is written reads back equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segzoo.errors import RecipeError, UnknownName
from segzoo.plugins import default_registry
from segzoo.recipe import load_recipe, recipe_json, recipe_sha256, resolve_recipe
from segzoo.recipe.load import MAX_BYTES, parse_recipe
from segzoo.recipe.shipped import find_recipe, shipped_recipes
from segzoo.recipe.strict_json import MAX_DEPTH, read_json

SMALL: dict[str, Any] = {
    "recipe_version": 1,
    "name": "small",
    "model": {"name": "fast_scnn"},
    "data": {"format": "shapes"},
}

Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that puts bytes, text or JSON data into a file."""

    def put(content: Any) -> Path:
        path = tmp_path / "recipe.json"
        if not isinstance(content, bytes | str):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put


def refusal(path: Path, *overrides: str) -> str:
    """Return the message that a file gets, without the file's name, which must begin it."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    return message.removeprefix(f"{path}:").strip()


def test_small_recipe_is_filled_in(write: Write) -> None:
    """Four keys make a recipe; the rest have defaults."""
    recipe = load_recipe(write(SMALL))
    assert recipe.name == "small"
    assert [term.name for term in recipe.loss] == ["cross_entropy"]
    assert (recipe.optimizer.name, recipe.scheduler.name, recipe.train.epochs) == ("adamw", "poly", 50)
    assert recipe.data.split_names == ("train", "val")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a recipe: Expecting value: line 1 column 1"),
        ("{", "not a recipe: Expecting property name"),
        ("{} {}", "not a recipe: Extra data"),
        ("// comment\n{}", "not a recipe: Expecting value"),
        ('{"name": "a",}', "not a recipe: "),
        ('{"name": "a", "name": "b"}', "not a recipe: the key 'name' stands twice in one object"),
        ('{"train": {"seed": 1, "seed": 1}}', "not a recipe: the key 'seed' stands twice in one object"),
        ('{"optimizer": {"lr": NaN}}', "not a recipe: NaN is not a finite number"),
        ('{"optimizer": {"lr": -Infinity}}', "not a recipe: -Infinity is not a finite number"),
        ('{"optimizer": {"lr": 1e999}}', "not a recipe: 1e999 is not a finite number"),
        ('{"optimizer": {"lr": -1e999}}', "not a recipe: -1e999 is not a finite number"),
        (b"\xef\xbb\xbf{}", "not a recipe: it begins with a byte order mark; save it as plain UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8: byte 0 is 0xff"),
        (b'{"name": "\xe9"}', "not UTF-8: byte 10 is 0xe9"),
        (b"\x00", "not a recipe: Expecting value"),
        ("[]", "a recipe is a JSON object, got list"),
        ("null", "a recipe is a JSON object, got NoneType"),
        ('"name"', "a recipe is a JSON object, got str"),
        ('{"name": ' + "9" * 5000 + "}", "not a recipe: "),
    ],
)
def test_broken_files_are_refused(write: Write, content: bytes | str, message: str) -> None:
    """One message says what is wrong with the file, and where."""
    told = refusal(write(content))
    assert told.startswith(message)
    assert "\n" not in told


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 5000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(write: Write, levels: int, opening: str, closing: str) -> None:
    """Nesting never exhausts the stack, wherever in the recipe it stands."""
    deep = opening * levels + "1" + closing * levels
    whole = json.dumps(SMALL)
    for content in (
        deep,
        f'{whole[:-1]}, "x": {deep}}}',
        whole.replace('"fast_scnn"', f'"x", "params": {{"y": {deep}}}'),
    ):
        assert refusal(write(content)) == f"not a recipe: nested more than {MAX_DEPTH} levels deep"


def test_honest_nesting_is_read() -> None:
    """The limit is exact: a value of so many levels passes, one more does not."""
    assert read_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(ValueError, match=f"more than {MAX_DEPTH} levels"):
        read_json("[" * (MAX_DEPTH + 1) + "1" + "]" * (MAX_DEPTH + 1))


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    """100 MB that take no space on the disk take no time either."""
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    assert refusal(path) == "larger than 1024 KiB, which no recipe is"


def test_limit_is_exact(write: Write) -> None:
    """A recipe of exactly the limit is read, one more byte is not."""
    assert load_recipe(write(json.dumps(SMALL).ljust(MAX_BYTES))).name == "small"
    assert refusal(write(json.dumps(SMALL).ljust(MAX_BYTES + 1))).startswith("larger than")


def test_largest_file_is_refused_in_short(write: Write) -> None:
    """As many wrong keys as a file may hold give one short message."""
    keys = {f"k{index}": 1 for index in range(MAX_BYTES // 14)}
    told = refusal(write(SMALL | keys))
    assert told.endswith(f"and {len(keys) - 5} more")


def test_problems_have_file_path_value_and_suggestion(write: Write) -> None:
    """One problem shares the file's line; several stand below it, indented."""
    assert refusal(write(SMALL | {"train": {"epocs": 3}})) == ("train.epocs = 3: unknown key. Did you mean 'epochs'?")
    assert refusal(write(SMALL | {"train": {"epochs": "3"}, "eval": {"split": 1}})).splitlines() == [
        'train.epochs = "3": input should be a valid integer',
        "  eval.split = 1: input should be a valid string",
    ]


def test_augment_names_are_checked(write: Write) -> None:
    """Transforms are compared with the table when the recipe is loaded."""
    told = refusal(write(SMALL | {"augment": [{"name": "HorizontlFlip"}]}))
    assert told == "augment.0.name: no transform named 'HorizontlFlip'. Did you mean 'HorizontalFlip'?"


def test_augment_is_checked_against_the_channels(write: Write) -> None:
    """Overrides count: the recipe suits RGB, and not one channel."""
    path = write(SMALL | {"augment": [{"name": "ToGray"}]})
    assert load_recipe(path).model.in_channels == 3
    with pytest.raises(RecipeError, match=r"augment\.0\.name: 'ToGray' acts on images of 3 channels, but .* is 1"):
        load_recipe(path, ["model.in_channels=1"])


def test_text_that_is_no_text_is_refused(write: Write) -> None:
    """Half of a surrogate pair cannot be written as UTF-8 anywhere."""
    assert "\n" not in refusal(write(json.dumps(SMALL).replace('"small"', '"\\ud800"')))


def test_overrides_come_before_validation(write: Write) -> None:
    """A recipe that lacks a key is completed; what an override breaks is told as such, other faults with the file."""
    path = write({key: value for key, value in SMALL.items() if key != "name"})
    assert load_recipe(path, ["name=other", "train.epochs=3"]).train.epochs == 3
    with pytest.raises(RecipeError, match=r"^--set name = \"../x\": it may hold letters, digits"):
        load_recipe(path, ["name=../x"])
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, ["train.epochs=three"])
    told = str(caught.value)
    assert told.startswith(f"{path}:\n  name: this key is required")
    assert 'train.epochs = "three"' in told


def test_missing_file_gets_a_suggestion(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest file in the folder is suggested, compared by its name alone."""
    path = write(SMALL)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "recpe.json")
    assert str(caught.value) == f"no recipe file {tmp_path / 'recpe.json'}. Did you mean '{path.name}'?"
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "zzz.json")
    assert str(caught.value) == f"no recipe file {tmp_path / 'zzz.json'}."
    with pytest.raises(RecipeError, match=r"no recipe file nowhere/recipe.json\.$"):
        load_recipe("nowhere/recipe.json")
    with pytest.raises(RecipeError, match=r"no recipe file nowhere/quikstart\. Did you mean 'quickstart'\?$"):
        load_recipe("nowhere/quikstart")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=r"no recipe file quickstart.jsn\. Did you mean 'quickstart'"):
        load_recipe("quickstart.jsn")


def test_name_without_its_suffix_gets_a_suggestion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that lies there under the name and ``.json`` is suggested."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copy.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"^no recipe named 'copy'\. Did you mean the file 'copy\.json'\?$"):
        find_recipe("copy")


def test_folder_is_no_recipe(tmp_path: Path) -> None:
    """A folder is refused by name."""
    with pytest.raises(RecipeError, match=f"{tmp_path} is a folder; a recipe is a JSON file"):
        load_recipe(tmp_path)


def test_unreadable_file_is_told(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says is passed on without a traceback."""
    path = write(SMALL)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(path) == "cannot be read: Permission denied"


def test_shipped_recipes_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name is a shipped recipe, wherever the user is; a file of that name in the folder comes first."""
    monkeypatch.chdir(tmp_path)
    assert load_recipe("quickstart").name == "quickstart"
    assert find_recipe("quickstart") == shipped_recipes()["quickstart"]
    Path("quickstart").write_text(json.dumps(SMALL))
    assert load_recipe("quickstart").name == "small"
    with pytest.raises(UnknownName, match=r"no recipe named 'quikstart'. Did you mean 'quickstart'\?"):
        load_recipe("quikstart")


def test_installed_recipes_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a wheel the recipes lie inside the package."""
    installed = tmp_path / "segzoo" / "_recipes"
    installed.mkdir(parents=True)
    (installed / "mine.json").write_text("{}")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "other.json").write_text("{}")
    monkeypatch.setattr("segzoo.recipe.shipped.__file__", str(tmp_path / "segzoo" / "recipe" / "shipped.py"))
    assert shipped_recipes() == {"mine": installed / "mine.json"}
    (installed / "mine.json").unlink()
    installed.rmdir()
    assert set(shipped_recipes()) == {"other"}


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_is_valid(name: str) -> None:
    """Every recipe that comes with segzoo resolves, is named like its file, and says what it does."""
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert resolve_recipe(recipe, default_registry()).model.name.startswith("segzoo/")


@pytest.mark.parametrize("name", shipped_recipes())
def test_round_trip(name: str, tmp_path: Path) -> None:
    """A resolved recipe, written and read, is equal, resolves to itself, and has the same checksum."""
    recipe = resolve_recipe(load_recipe(name), default_registry())
    path = tmp_path / "recipe.json"
    path.write_text(recipe_json(recipe), encoding="utf-8")
    again = load_recipe(path)
    assert again == recipe
    assert resolve_recipe(again, default_registry()) == recipe
    assert recipe_json(again) == recipe_json(recipe)
    assert recipe_sha256(again) == recipe_sha256(recipe)


def test_round_trip_of_nested_transforms(write: Write, tmp_path: Path) -> None:
    """Arguments of transforms, which the schema does not know, survive as well; so does any text."""
    augment = [
        {"name": "OneOf", "p": 0.5, "transforms": [{"name": "Blur", "blur_limit": [3, 5]}, {"name": "NoOp"}]},
        {"name": "ColorJitter", "hue": [0, 0.1], "p": 1},
    ]
    recipe = load_recipe(write(SMALL | {"augment": augment, "description": "Ünïcode 画 \u2028"}))
    path = tmp_path / "again.json"
    path.write_text(recipe_json(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert json.loads(recipe_json(recipe))["augment"] == augment


def test_checksum_is_that_of_the_content(write: Write) -> None:
    """Spelling out a default changes nothing; changing a value does."""
    plain = recipe_sha256(load_recipe(write(SMALL)))
    assert recipe_sha256(load_recipe(write(SMALL | {"train": {"epochs": 50}}))) == plain
    assert recipe_sha256(load_recipe(write(SMALL | {"train": {"epochs": 51}}))) != plain


def test_parse_recipe_names_its_source() -> None:
    """What did not come from a file has a name, too."""
    with pytest.raises(RecipeError, match=r"^run.json: not a recipe: "):
        parse_recipe(b"{", "run.json")
    assert parse_recipe(b'{"a": [1.5, "\xc3\xbc", null]}', "x") == {"a": [1.5, "ü", None]}
