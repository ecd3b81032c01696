"""Validation errors read as sentences with the path, the value, and the nearest valid name."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from segzoo.messages import MAX_PROBLEMS, explain, section_at, show, takes_only_text
from segzoo.recipe.data import FolderData, ShapesData
from segzoo.recipe.schema import AugmentEntry, Cosine, Dice, EarlyStopping, Recipe, TrainSection
from segzoo.spec import Frozen


class Leaf(Frozen):
    """A section inside lists."""

    width: int = 1
    kind: Literal["round", "square"] = "round"
    corner: tuple[int, int] = (0, 0)


class Circle(Frozen):
    """One member of a tagged union."""

    name: Literal["circle"] = "circle"
    radius: float = 1.0


class Square(Frozen):
    """The other member of a tagged union."""

    name: Literal["square"] = "square"
    side: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _not_two(self) -> Square:
        if self.side == 2:
            raise ValueError("side 2 is out of stock")
        return self


class Root(Frozen):
    """A document with a bit of everything."""

    title: str = ""
    needed: int = Field(default=0, alias="$needed")
    leaves: tuple[Leaf, ...] = Field(default=(), min_length=2)
    shape: Annotated[Circle | Square, Field(discriminator="name")] = Circle()
    weights: tuple[Annotated[float, Field(ge=0)], ...] | Literal["even"] | None = None

    @model_validator(mode="after")
    def _no_clash(self) -> Root:
        if self.title == "clash":
            raise ValueError("a clash is not allowed")
        return self


class Strict(Frozen):
    """A document with a key that it cannot do without."""

    must: int


def told(model: type[BaseModel], data: Any, *, under: str = "") -> str:
    """Return what is said of invalid JSON data."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(data))
    return explain(caught.value, model, data, under=under)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"titel": 3}, "titel = 3: unknown key. Did you mean 'title'?"),
        ({"zzz": "x"}, 'zzz = "x": unknown key. Known keys: title, $needed, leaves, shape, weights.'),
        ({"title": 3}, "title = 3: input should be a valid string"),
        ({"shape": {"name": "circel"}}, "shape.name = \"circel\": expected 'circle', 'square'. Did you mean 'circle'?"),
        ({"shape": {"radius": 2}}, "shape.name: this key is required"),
        ({"shape": {"name": "circle", "radus": 2}}, "shape.radus = 2: unknown key. Did you mean 'radius'?"),
        ({"shape": {"name": "square", "side": 0}}, "shape.side = 0: input should be greater than 0"),
        ({"shape": {"name": "square", "side": 2}}, "shape: side 2 is out of stock"),
        ({"shape": "circle"}, 'shape = "circle": input should be an object'),
        ({"weights": "evn"}, "weights = \"evn\": expected 'even'. Did you mean 'even'?"),
        ({"weights": [1, -2]}, "weights.1 = -2: input should be greater than or equal to 0"),
        ({"title": "clash"}, "a clash is not allowed"),
        ({"leaves": [{}]}, "leaves = [{}]: expected at least 2 items, got 1"),
        ({"leaves": {}}, "leaves = {}: expected a list in brackets"),
        ({"leaves": [{}, {"corner": 3}]}, "leaves.1.corner = 3: expected a list of 2 items"),
        ({"leaves": [{}, {"corner": [1, 2, 3]}]}, "leaves.1.corner = [1, 2, 3]: expected at most 2 items, got 3"),
        ({"leaves": [{"width": "1"}]}, 'leaves.0.width = "1": input should be a valid integer'),
        ({"leaves": [{}, {"widht": 1}]}, "leaves.1.widht = 1: unknown key. Did you mean 'width'?"),
        ({"leaves": [{}, {"kind": "sqare"}]}, "leaves.1.kind = \"sqare\": expected 'round', 'square'. Did you mean 's"),
        ({"leaves": [{}, {"corner": [1]}]}, "leaves.1.corner.1: this item is required"),
    ],
)
def test_one_problem_is_one_line(data: dict[str, Any], message: str) -> None:
    """The path is that of the data, never of pydantic's union members; value and way out follow."""
    text = told(Root, data)
    assert text.startswith(message)
    assert "\n" not in text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "x y/z"}, "name = \"x y/z\": it may hold letters, digits, '.', '_' and '-', and does not begin"),
        ({"data": {"format": "shapes", "image_size": 256}}, "data.image_size = 256: expected a list [height, width]"),
    ],
)
def test_what_a_recipe_holds_is_said_in_words(data: dict[str, Any], message: str) -> None:
    """A pattern is not shown as one, and a size shows how it is written."""
    whole = {"recipe_version": 1, "name": "x", "model": {"name": "unet"}, "data": {"format": "shapes"}}
    assert told(Recipe, whole | data).startswith(message)


def test_missing_key_is_named() -> None:
    """A required key that is absent has no value to show."""
    assert told(Strict, {}) == "must: this key is required"


def test_several_problems_are_told_at_once() -> None:
    """Each problem has its own line, in the order of the schema."""
    assert told(Root, {"title": 3, "leaves": [{"widht": 1}, {"width": 1.5}]}).splitlines() == [
        "title = 3: input should be a valid string",
        "leaves.0.widht = 1: unknown key. Did you mean 'width'?",
        "leaves.1.width = 1.5: input should be a valid integer",
    ]


def test_problems_are_counted_past_a_limit() -> None:
    """A file full of mistakes does not fill the screen."""
    lines = told(Root, {f"key{index}": index for index in range(12)}).splitlines()
    assert len(lines) == MAX_PROBLEMS + 1
    assert lines[-1] == f"and {12 - MAX_PROBLEMS} more"
    assert len(told(Root, {f"key{index}": index for index in range(MAX_PROBLEMS)}).splitlines()) == MAX_PROBLEMS


def test_many_problems_are_told_in_time() -> None:
    """The largest file of mistakes is refused within seconds, not after comparing each with each."""
    data = {f"key{index}": index for index in range(50_000)}
    assert told(Root, data).endswith(f"and {50_000 - MAX_PROBLEMS} more")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"titel": 3}, "model.params.titel = 3: unknown key. Did you mean 'title'?"),
        ({"leaves": [{}, {"width": None}]}, "model.params.leaves.1.width = null: input should be a valid integer"),
        ({"title": "clash"}, "model.params: a clash is not allowed"),
        ([], "model.params = []: input should be an object"),
    ],
)
def test_under_is_the_beginning_of_every_path(data: Any, message: str) -> None:
    """Data from inside a document keeps its whole path, also where the fault is in no single key."""
    assert told(Root, data, under="model.params") == message


def test_without_the_data_pydantics_paths_are_taken() -> None:
    """Where a plugin's code validated, the data is not at hand."""
    with pytest.raises(ValidationError) as caught:
        Root.model_validate_json('{"leaves": [{"width": "x"}, {}], "titel": 1}')
    assert explain(caught.value, Root, None).splitlines() == [
        'leaves.0.width = "x": input should be a valid integer',
        "titel = 1: unknown key. Did you mean 'title'?",
    ]


@pytest.mark.parametrize(
    ("keys", "section"),
    [
        ([], Recipe),
        (["train"], TrainSection),
        (["train", "epochs"], None),
        (["train", "early_stopping"], EarlyStopping),
        (["data"], FolderData),
        (["scheduler"], Cosine),
        (["loss"], None),
        (["loss", 1], Dice),
        (["augment", 0, "transforms", 0], AugmentEntry),
        (["no", "such", "key"], None),
        (["model", "params", "width"], None),
    ],
)
def test_section_at(keys: list[str | int], section: type[BaseModel] | None) -> None:
    """A path leads to the class that validates what lies there; the data's tag decides in unions."""
    data = {
        "data": {"format": "folder"},
        "scheduler": {"name": "cosine"},
        "loss": [{"name": "focal"}, {"name": "dice"}],
        "augment": [{"name": "OneOf", "transforms": [{"name": "NoOp"}]}],
    }
    assert section_at(Recipe, data, keys) is section


def test_section_at_needs_a_known_tag() -> None:
    """Without a tag, or with an unknown one, no member of a union can be told."""
    assert section_at(Recipe, {"data": {}}, ["data"]) is None
    assert section_at(Recipe, {"data": {"format": "vok"}}, ["data"]) is None
    assert section_at(Recipe, {"data": {"format": "shapes"}}, ["data"]) is ShapesData


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (str, True),
        (str | None, True),
        (Annotated[str, Field(min_length=1)], True),
        (Literal["2007", "2012"], True),
        (Literal["a"] | None, True),
        (Literal[1], False),
        (Literal["a", 1], False),
        (int, False),
        (str | int, False),
        (tuple[str, ...], False),
        (type(None), False),
    ],
)
def test_takes_only_text(annotation: Any, *, text: bool) -> None:
    """Only where nothing but text is valid is a command line's value kept as it is."""
    assert takes_only_text(annotation) is text


def test_show_shortens() -> None:
    """Values appear as JSON; a long one is cut, and what is not JSON still appears."""
    assert show({"a": [1, None, "ü"]}) == '{"a": [1, null, "ü"]}'
    assert show("x" * 78) == '"' + "x" * 78 + '"', "80 characters are shown whole"
    assert show("x" * 500) == '"' + "x" * 78 + "…"
    assert show({1, 2}) == "{1, 2}"
