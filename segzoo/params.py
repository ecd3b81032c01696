"""Checking a model's parameters against its spec, without importing its builder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from segzoo.errors import ParamsError, PluginError, did_you_mean
from segzoo.messages import explain
from segzoo.spec import ModelSpec


def validate_params(spec: ModelSpec, params: Mapping[str, Any], *, under: str = "") -> BaseModel:
    """Check a model's parameters without importing its builder, and add those that its spec fixes.

    Args:
        spec: The model's spec.
        params: What the user gave; JSON data, so a list serves as a tuple.
        under: Path of the parameters inside a larger document, for messages.

    Raises:
        ParamsError: If a name or a value is wrong; it names the nearest valid one.
        PluginError: If a check that the model's author wrote fails itself; the cause is chained.
    """
    data = {**params, **spec.fixed}
    for name, value in spec.fixed.items():
        if name in params and params[name] != value:
            path = f"{under}.{name}" if under else name
            raise ParamsError(
                f"{spec.name}: {path} = {params[name]!r}: this model has {value!r}."
                f"{did_you_mean(str(params[name]), [str(value)])} Models with other values have names of their own: "
                "see segzoo list"
            )
    try:
        text = json.dumps(data)
    except TypeError as error:
        raise ParamsError(f"{spec.name}: parameters are JSON data: {error}") from None
    try:
        return spec.params.model_validate_json(text)
    except ValidationError as error:
        raise ParamsError(f"{spec.name}: {explain(error, spec.params, data, under=under)}") from None
    except Exception as error:
        raise PluginError(
            f"{spec.params.__name__}, the parameters of {spec.name}, cannot be checked: {type(error).__name__}: {error}"
        ) from error
