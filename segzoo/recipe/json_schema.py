"""The recipe's JSON Schema, for editors and for other tools."""

from __future__ import annotations

import json
from typing import Any

from segzoo.errors import AmbiguousModel, PluginError
from segzoo.recipe.schema import Recipe
from segzoo.registry import Registry

SCHEMA_ID = "recipe-1.json"


def recipe_schema(registry: Registry | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a recipe.

    Args:
        registry: If given, the schema also checks the parameters of every model in it.
    """
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **Recipe.model_json_schema(by_alias=True),
    }
    if registry is not None:
        _add_parameter_rules(schema["$defs"], registry)
    return schema


def schema_json(schema: dict[str, Any]) -> str:
    """Return a schema as the text that is committed."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _add_parameter_rules(definitions: dict[str, Any], registry: Registry) -> None:
    """Add one rule per model: where the name is the model's, the parameters follow its schema."""
    rules = []
    for entry in registry:
        try:
            spec = entry.spec()
            bare = registry.resolve(entry.name) is entry
        except PluginError:
            continue
        except AmbiguousModel:
            bare = False
        prefix = f"{entry.distribution}.{entry.name}."
        schema = spec.params.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
        for name, value in spec.fixed.items():
            schema["properties"][name] = {"const": value}
            schema["required"] = [other for other in schema.get("required", []) if other != name]
        definitions.update({prefix + name: part for name, part in schema.pop("$defs", {}).items()})
        names = [entry.id, entry.name] if bare else [entry.id]
        rules.append({"if": {"properties": {"name": {"enum": names}}}, "then": {"properties": {"params": schema}}})
    definitions["ModelSection"]["allOf"] = rules
