"""What is known of a model is frozen, strictly typed, and needs no torch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from segzoo.catalog import BUILTIN_SPECS
from segzoo.errors import ParamsError
from segzoo.params import validate_params
from segzoo.spec import API_VERSION, InputSpec, ModelSpec, Params, Weights

SHA256 = "0" * 64


class LiteParams(Params):
    """Parameters of the spec under test."""

    width: int = 8


def make(**fields: Any) -> ModelSpec:
    """Return a valid spec with some fields changed."""
    return ModelSpec(
        **{
            "name": "lite",
            "summary": "A model",
            "family": "acme",
            "builder": "acme.nets:build",
            "params": LiteParams,
            "license": "MIT",
            **fields,
        }
    )


def test_few_fields_are_required() -> None:
    """Six fields make a spec; the rest have defaults."""
    spec = make()
    assert {name for name, field in ModelSpec.model_fields.items() if field.is_required()} == {
        "name",
        "summary",
        "family",
        "builder",
        "params",
        "license",
    }
    assert (spec.revision, spec.api_version, spec.default_weights, spec.deprecated) == (1, API_VERSION, None, None)
    assert spec.input == InputSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), min_size=32)


@pytest.mark.parametrize("field", ["name", "summary", "family", "builder", "params", "license"])
def test_required_fields(field: str) -> None:
    """Without one of the six there is no spec."""
    fields = {name: value for name, value in make().model_dump().items() if name != field}
    with pytest.raises(ValidationError, match=rf"(?s){field}.*Field required"):
        ModelSpec(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"colour": "red"}, "Extra inputs are not permitted"),
        ({"name": "Lite"}, "input_value='Lite'"),
        ({"name": "acme/lite"}, "input_value='acme/lite'"),
        ({"name": "lite\n"}, "should match pattern"),
        ({"name": ""}, "input_value=''"),
        ({"name": 3}, "input_value=3"),
        ({"summary": ""}, "at least 1 character"),
        ({"license": ""}, "at least 1 character"),
        ({"builder": "acme.nets.build"}, "input_value='acme.nets.build'"),
        ({"builder": "acme.nets:build()"}, "should match pattern"),
        ({"aliases": ("a/b",)}, "input_value='a/b'"),
        ({"tags": ["a"]}, "should be a valid tuple"),
        ({"revision": 0}, "greater than or equal to 1"),
        ({"revision": "2"}, "should be a valid integer"),
        ({"weights": {"imagenet": {"license": "MIT"}}}, "exactly one of url and hub"),
        ({"default_weights": "imagenet"}, "default_weights 'imagenet' is not one of"),
        ({"params": LiteParams()}, "subclass of BaseModel"),
        ({"params": dict}, "subclass of BaseModel"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    """Unknown fields, wrong types and wrong names never pass; nothing is converted."""
    with pytest.raises(ValidationError, match=message):
        make(**fields)


@pytest.mark.parametrize("extra", ["ignore", "allow", None])
def test_params_must_forbid_extras(extra: Any) -> None:
    """A class that lets a typo pass cannot describe a model's parameters."""

    class Loose(BaseModel):
        model_config = ConfigDict() if extra is None else ConfigDict(extra=extra)

    with pytest.raises(ValidationError, match="params class Loose must set extra='forbid'"):
        make(params=Loose)


def test_any_pydantic_class_that_forbids_extras_serves() -> None:
    """Authors need not derive from segzoo's class."""

    class Own(BaseModel):
        model_config = ConfigDict(extra="forbid")

    assert make(params=Own).params is Own


@pytest.mark.parametrize("version", [0, API_VERSION + 1])
def test_other_api_versions_are_refused(version: int) -> None:
    """A spec written for a later segzoo says so, instead of being misread."""
    with pytest.raises(ValidationError, match=f"api_version {version} is not known to this segzoo"):
        make(api_version=version)


@pytest.mark.parametrize("part", [make(), InputSpec(), Weights(url="https://x/y", sha256=SHA256, license="MIT")])
def test_frozen(part: BaseModel) -> None:
    """A spec that a registry holds cannot be changed under it."""
    field = next(iter(type(part).model_fields))
    with pytest.raises(ValidationError, match="Instance is frozen"):
        setattr(part, field, None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one of url and hub"),
        ({"url": "https://x/y", "hub": "a/b", "sha256": SHA256}, "exactly one of url and hub"),
        ({"url": "https://x/y"}, "weights from a url need sha256"),
        ({"url": "https://x/y", "revision": "abc"}, "weights from a url need sha256"),
        ({"hub": "a/b"}, "weights from the hub need revision or sha256"),
        ({"url": "https://x/y", "sha256": "abc"}, "should match pattern"),
        ({"url": "https://x/y", "sha256": SHA256.replace("0", "G")}, "should match pattern"),
        ({"hub": "a/b", "revision": "abc", "part": "decoder"}, "'encoder' or 'model'"),
    ],
)
def test_weights_are_pinned(fields: dict[str, Any], message: str) -> None:
    """Weights come from one place, and the file there cannot change unnoticed."""
    with pytest.raises(ValidationError, match=message):
        Weights(license="MIT", **fields)


@pytest.mark.parametrize(
    "fields",
    [{"url": "https://x/y", "sha256": SHA256}, {"hub": "a/b", "revision": "abc"}, {"hub": "a/b", "sha256": SHA256}],
)
def test_pinned_weights_pass(fields: dict[str, str]) -> None:
    """A checksum pins both kinds of sources, a commit the hub's."""
    assert Weights(license="MIT", **fields).part == "model"


def test_weights_need_a_license() -> None:
    """The license of weights is not that of the code, so it is always stated."""
    with pytest.raises(ValidationError, match=r"(?s)license.*Field required"):
        Weights(hub="a/b", revision="abc")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": (0.5,)}, "mean has 1 channels, std has 3"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be positive"),
        ({"mean": (0.5, float("nan"), 0.5)}, "finite number"),
        ({"min_size": 0}, "greater than or equal to 1"),
        ({"min_size": 32.0}, "should be a valid integer"),
    ],
)
def test_wrong_inputs_are_refused(fields: dict[str, Any], message: str) -> None:
    """Normalisation that would divide by zero or misses a channel is refused where it is declared."""
    with pytest.raises(ValidationError, match=message):
        InputSpec(**fields)


@pytest.mark.parametrize("spec", BUILTIN_SPECS, ids=lambda spec: spec.name)
def test_json_round_trip(spec: ModelSpec) -> None:
    """All that a spec says survives JSON; its class of parameters, being code, is put back by hand."""
    data = json.loads(spec.model_dump_json(exclude={"params"}))
    data["input"] = InputSpec.model_validate_json(json.dumps(data["input"]))
    data["weights"] = {tag: Weights.model_validate_json(json.dumps(entry)) for tag, entry in data["weights"].items()}
    data |= {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
    assert ModelSpec(**data, params=spec.params) == spec


@pytest.mark.parametrize("spec", BUILTIN_SPECS, ids=lambda spec: spec.name)
def test_builtin_specs(spec: ModelSpec) -> None:
    """A built-in builds without any parameter, describes each one, and states a license for its weights."""
    defaults = validate_params(spec, {})
    assert spec.params.model_validate_json(defaults.model_dump_json()) == defaults
    assert spec.builder.startswith("segzoo.")
    assert all(weights.license for weights in spec.weights.values())


def test_builtin_names_are_unique() -> None:
    """No two built-ins share a name or an alias."""
    names = [name for spec in BUILTIN_SPECS for name in (spec.name, *spec.aliases)]
    assert len(set(names)) == len(names)


def fixed_unet() -> ModelSpec:
    """Return a preset."""
    return next(spec for spec in BUILTIN_SPECS if spec.name == "unet_resnet34")


def test_fixed_parameters_are_added_and_cannot_be_changed() -> None:
    """A preset decides its encoder: repeating it is fine, a typo of it is told, another one is refused."""
    spec = fixed_unet()
    assert validate_params(spec, {}) == validate_params(spec, {"encoder": "resnet34"})
    with pytest.raises(ParamsError, match=r"encoder = 'resnet43': this model has 'resnet34'. Did you mean 'resnet34'"):
        validate_params(spec, {"encoder": "resnet43"})


def test_fixed_names_a_parameter() -> None:
    """A preset cannot fix what its class of parameters does not have."""
    with pytest.raises(ValidationError, match="fixed names 'encodr', which UnetParams does not have"):
        ModelSpec.model_validate({**dict(fixed_unet()), "fixed": {"encodr": "resnet34"}})


def test_a_spec_survives_json() -> None:
    """All of a spec but its class of parameters can be read back from its JSON, which names that class."""
    spec = fixed_unet()
    data = json.loads(spec.model_dump_json())
    assert data.pop("params") == "segzoo.catalog.smp:UnetParams"
    assert ModelSpec.model_validate({**data, "params": spec.params}, strict=False) == spec
