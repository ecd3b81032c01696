"""The JSON Schema that editors use is the schema that segzoo checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segzoo.catalog import BUILTIN_SPECS
from segzoo.plugins import default_registry
from segzoo.recipe import load_recipe, recipe_json, resolve_recipe
from segzoo.recipe.json_schema import recipe_schema, schema_json
from segzoo.recipe.schema import Recipe
from segzoo.recipe.shipped import shipped_recipes

COMMITTED = Path(__file__).parents[2] / "docs" / "schemas" / "recipe-1.json"


def rule_for(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the schema of the parameters of the model that a recipe calls ``name``."""
    (rule,) = [
        rule for rule in schema["$defs"]["ModelSection"]["allOf"] if name in rule["if"]["properties"]["name"]["enum"]
    ]
    return rule["then"]["properties"]["params"]


def references(part: Any) -> set[str]:
    """Return every ``$ref`` inside a schema, also those of discriminators."""
    if isinstance(part, dict):
        own = {value for value in part.values() if isinstance(value, str) and value.startswith("#/$defs/")}
        return own.union(*(references(value) for value in part.values()))
    return set().union(*(references(item) for item in part)) if isinstance(part, list) else set()


def test_committed_schema_is_the_generated_one() -> None:
    """Whoever changes the schema runs ``make generate``."""
    assert COMMITTED.read_text(encoding="utf-8") == schema_json(recipe_schema())


def test_keys_are_those_of_a_recipe() -> None:
    """Editors see the keys as they are written, ``$schema`` included, and refuse others."""
    schema = recipe_schema()
    assert schema["$id"] == "recipe-1.json"
    assert set(schema["properties"]) == {field.alias or name for name, field in Recipe.model_fields.items()}
    assert "$schema" in schema["properties"]
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"recipe_version", "name", "model", "data"}


def test_references_lead_somewhere() -> None:
    """With and without models, each ``$ref`` has its definition."""
    for schema in (recipe_schema(), recipe_schema(default_registry())):
        assert {reference.removeprefix("#/$defs/") for reference in references(schema)} <= set(schema["$defs"])


def test_shipped_recipes_name_the_schema() -> None:
    """The ``$schema`` of a shipped recipe leads from its folder to the committed file."""
    for path in shipped_recipes().values():
        address = json.loads(path.read_text(encoding="utf-8"))["$schema"]
        assert (path.parent / address).resolve() == COMMITTED


@pytest.fixture(scope="module")
def validators() -> list[Any]:
    """Return an independent reading of the schema with and without models."""
    jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema reads the schema")
    found = [jsonschema.Draft202012Validator(schema) for schema in (recipe_schema(), recipe_schema(default_registry()))]
    for validator in found:
        validator.check_schema(validator.schema)
    return found


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_follows_the_schema(name: str, validators: list[Any]) -> None:
    """As shipped and as resolved."""
    for validator in validators:
        validator.validate(json.loads(shipped_recipes()[name].read_text(encoding="utf-8")))
        validator.validate(json.loads(recipe_json(resolve_recipe(load_recipe(name), default_registry()))))


@pytest.mark.parametrize(
    "change",
    [
        {"nmae": "x"},
        {"name": "../x"},
        {"recipe_version": 2},
        {"train": {"epochs": 0}},
        {"train": {"epocs": 1}},
        {"data": {"format": "vok"}},
        {"loss": []},
        {"model": {"name": "segnet", "params": {"conv_bais": True}}},
        {"model": {"name": "segzoo/segnet", "params": {"conv_bias": "yes"}}},
    ],
)
def test_editors_see_mistakes(change: dict[str, Any]) -> None:
    """What segzoo refuses, the schema refuses."""
    jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema reads the schema")
    data = json.loads(shipped_recipes()["quickstart"].read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(recipe_schema(default_registry()))
    assert validator.is_valid(data)
    assert not validator.is_valid(data | change)


def test_every_model_has_a_rule() -> None:
    """With a registry, the parameters of each model are described, under its bare name and its id."""
    schema = recipe_schema(default_registry())
    for spec in BUILTIN_SPECS:
        rule = rule_for(schema, spec.name)
        assert rule is rule_for(schema, f"segzoo/{spec.name}")
        assert set(rule.get("properties", {})) == set(spec.params.model_fields)
        assert rule["additionalProperties"] is False
    assert "allOf" not in recipe_schema()["$defs"]["ModelSection"]


def test_plugins_have_rules(offer: Callable[..., Path], install: Callable[..., Path]) -> None:
    """A plugin's name that a built-in wins, or that two claim, stands only under its id; a broken one has no rule."""
    offer("acme-seg", "lite")
    offer("beta-seg", "twin")
    offer("gamma-seg", "twin")
    offer("delta-seg", "segnet")
    install("bad-seg", {"gone": "bad_seg:SPEC"}, "raise RuntimeError")
    schema = recipe_schema(default_registry())
    rules = schema["$defs"]["ModelSection"]["allOf"]
    names = {name for rule in rules for name in rule["if"]["properties"]["name"]["enum"]}
    third = names - {name for spec in BUILTIN_SPECS for name in (spec.name, f"segzoo/{spec.name}")}
    assert third == {"lite", "acme-seg/lite", "beta-seg/twin", "gamma-seg/twin", "delta-seg/segnet"}
    assert set(rule_for(schema, "lite")["properties"]) == {"width"}
    assert set(rule_for(schema, "segnet")["properties"]) == {"conv_bias"}


def test_parameters_with_classes_of_their_own(install: Callable[..., Path]) -> None:
    """Two models may call their nested classes alike; each rule refers to its own."""
    code = (
        "from segzoo import ModelSpec, Params\n"
        "class Part(Params):\n    {field}: int = 1\n"
        "class Whole(Params):\n    part: Part = Part()\n"
        "SPEC = ModelSpec(name='{name}', summary='x', family='x', builder='x:y', params=Whole, license='MIT')\n"
    )
    install("acme-seg", {"first": "acme_seg:SPEC"}, code.format(field="width", name="first"))
    install("beta-seg", {"second": "beta_seg:SPEC"}, code.format(field="depth", name="second"))
    schema = recipe_schema(default_registry())
    for name, field in (("first", "width"), ("second", "depth")):
        (reference,) = references(rule_for(schema, name))
        assert set(schema["$defs"][reference.removeprefix("#/$defs/")]["properties"]) == {field}


def test_text_is_stable() -> None:
    """What is committed ends with a newline, keeps letters as they are, and reads back as the schema."""
    schema = {"title": "Lovász"}
    assert schema_json(schema) == '{\n  "title": "Lovász"\n}\n'
    assert json.loads(schema_json(recipe_schema())) == recipe_schema()
