"""Parameters are checked against a spec, without its builder."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from segzoo.errors import ParamsError
from segzoo.params import validate_params
from segzoo.spec import InputSpec, ModelSpec, Params


class LiteParams(Params):
    """Parameters of the specs under test."""

    width: int = Field(default=8, ge=1)
    rates: tuple[int, ...] = (1, 2)


def make(name: str, **fields: Any) -> ModelSpec:
    """Return a spec."""
    return ModelSpec(
        **{
            "name": name,
            "summary": f"What {name} is",
            "family": "acme",
            "builder": "acme.nets:build",
            "params": LiteParams,
            "license": "MIT",
            **fields,
        }
    )


def test_valid_params_pass() -> None:
    """Parameters are JSON data: a list serves as a tuple, and defaults are filled in."""
    params = validate_params(make("lite"), {"rates": [1, 2, 4]})
    assert isinstance(params, LiteParams)
    assert params.model_dump() == {"width": 8, "rates": (1, 2, 4)}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"widht": 3}, "lite: widht = 3: unknown key. Did you mean 'width'?"),
        ({"width": "3"}, 'lite: width = "3": input should be a valid integer'),
        ({"width": True}, "lite: width = true: input should be a valid integer"),
        ({"width": 0}, "lite: width = 0: input should be greater than or equal to 1"),
        ({"rates": [1, "2"]}, 'lite: rates.1 = "2": input should be a valid integer'),
        ({"width": float("nan")}, "lite: width = NaN: "),
        ({"width": InputSpec()}, "lite: parameters are JSON data: "),
    ],
)
def test_wrong_params_are_refused(params: dict[str, Any], message: str) -> None:
    """A typo or a wrong type never reaches a builder; the message has the model, the key and the value."""
    with pytest.raises(ParamsError) as caught:
        validate_params(make("lite"), params)
    assert str(caught.value).startswith(message)


def test_params_inside_a_document_have_their_whole_path() -> None:
    """A recipe's error names the path in the recipe."""
    with pytest.raises(ParamsError, match=r"lite: model.params.widht = 3: unknown key. Did you mean 'width'"):
        validate_params(make("lite"), {"widht": 3}, under="model.params")


def test_params_are_checked_without_the_builder() -> None:
    """The builder's module does not even exist, and still the typo is found."""
    with pytest.raises(ParamsError, match="widht"):
        validate_params(make("lite", builder="no_such_module:build"), {"widht": 3})
