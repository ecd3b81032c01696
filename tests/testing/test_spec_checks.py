"""Each rule about specs catches the spec that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, field_serializer, model_validator

from segzoo.spec import Params, Weights
from segzoo.testing import check_model


def offered(install: Callable[..., Path], before: str) -> str:
    """Install a plugin whose module begins with ``before``, and return its model's id."""
    code = (
        f"{before}\nfrom segzoo import ModelSpec, Params\n\n\nclass LiteParams(Params):\n    width: int = 8\n\n\n"
        "SPEC = ModelSpec(name='lite', summary='A', family='a', builder='a:b', params=LiteParams, license='MIT')\n"
    )
    install("heavy-seg", {"lite": "heavy_seg:SPEC"}, code)
    return "heavy-seg/lite"


@pytest.mark.parametrize(
    ("before", "status", "detail"),
    [
        ("print('hello')", "passed", ""),
        (
            "import torch",
            "failed",
            "importing heavy_seg imports torch, numpy; import it where the network is built",
        ),
        ("import numpy", "failed", "importing heavy_seg imports numpy; import it where the network is built"),
        (
            "import sys\nassert 'pytest' in sys.modules, 'only in tests'",
            "failed",
            "heavy_seg cannot be imported in a process of its own: AssertionError: only in tests",
        ),
    ],
)
def test_spec_without_torch(install: Callable[..., Path], before: str, status: str, detail: str) -> None:
    """A plugin's module is imported in a fresh process, whatever this one has loaded already."""
    (row,) = check_model(offered(install, before), only=["spec_without_torch"]).rows
    assert (row.status, row.detail) == (status, detail)


def test_spec_without_torch_needs_an_entry_point(toys: Any) -> None:
    """A spec of a notebook or a test is imported by nobody else, which the report says."""
    (row,) = check_model(toys.spec(), only=["spec_without_torch"]).rows
    assert (row.status, row.detail) == ("skipped", "no entry point offers this spec, so `segzoo list` never imports it")


class Swallowing(Params):
    """Drops what it does not know."""

    width: int = 8

    @model_validator(mode="before")
    @classmethod
    def _drop(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if name in cls.model_fields}


class Correcting(Params):
    """Takes names that are nearly right."""

    width: int = 8

    @model_validator(mode="before")
    @classmethod
    def _correct(cls, data: Any) -> Any:
        return {"width" if name.startswith("widt") else name: value for name, value in data.items()}


class Lax(BaseModel):
    """Turns strings into numbers."""

    model_config = ConfigDict(extra="forbid")
    width: int = 8


class Anything(Params):
    """Its parameter takes whatever it is given."""

    width: Any = None


class Required(Params):
    """Cannot be built without being told a width."""

    width: int


@pytest.mark.parametrize(
    ("params", "detail"),
    [
        (Swallowing, "the parameters take no_such_parameter = 1 without a word"),
        (Correcting, "the parameters take widthh = 8 without a word"),
        (Lax, "the parameters take width = '8' without a word"),
        (Anything, "the parameters take width = [['wrong type']] without a word"),
    ],
)
def test_strict_params(toys: Any, params: type[BaseModel], detail: str) -> None:
    """Neither unknown names nor typos of known ones nor wrong types pass."""
    assert toys.faults(params=params) == {"strict_params": detail}


def test_strict_params_of_several_types(toys: Any) -> None:
    """Strict parameters of every kind pass."""

    class Many(Params):
        name: str = "a"
        names: tuple[str, ...] = ("a", "b")
        share: float = 0.5
        biased: bool = False
        sizes: dict[str, int] | None = None
        widths: list[int] | None = None

    assert toys.faults(params=Many) == {}


def test_parameters_have_defaults(toys: Any) -> None:
    """A model that cannot be built by its name alone fails wherever it would be built, with the parameter's name."""
    faults = toys.faults(params=Required)
    assert "strict_params" in faults
    assert "parts" in faults
    assert all("width" in detail for detail in faults.values())


class Rounding(Params):
    """Writes another value than it has."""

    share: float = 0.55

    @field_serializer("share")
    def _round(self, value: float) -> float:
        return round(value, 1)


def test_json_round_trip_of_parameters(toys: Any) -> None:
    """A recipe stores parameters as JSON, so the model must be the same after reading it."""
    assert toys.faults(params=Rounding) == {
        "json_round_trip": "the default parameters are others after a way through JSON"
    }


def test_json_round_trip_of_the_spec(toys: Any) -> None:
    """A spec that was changed behind pydantic's back is told with the field."""
    spec = toys.spec().model_copy(update={"revision": "2"})
    with pytest.warns(UserWarning, match="serialized value may not be as expected"):
        (row,) = check_model(spec, only=["json_round_trip"]).rows
    assert row.detail == "the spec's revision is another after a way through JSON"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"license": "MIT License"}, "license: Invalid license expression: 'MIT License'"),
        ({"license": "unknown"}, "license: Unknown license: 'unknown'"),
        (
            {"weights": {"voc": Weights(hub="a/b", revision="c", license="free")}},
            "weights.voc.license: Unknown license: 'free'",
        ),
    ],
)
def test_license_is_spdx(toys: Any, fields: dict[str, object], message: str) -> None:
    """Whoever filters by license must be able to rely on its spelling, for weights as well."""
    assert toys.faults(**fields) == {"license_is_spdx": f"{message}; write an SPDX identifier, such as Apache-2.0"}
