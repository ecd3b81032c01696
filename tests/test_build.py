"""Building by name checks first, and every built-in model keeps the contract."""

import sys
import types

import pytest
import torch
from torch import Tensor, nn

from segzoo import build
from segzoo.build import build_from_spec, create_model
from segzoo.catalog import BUILTIN_SPECS
from segzoo.errors import NotAvailable, ParamsError, PluginError, UnknownModel, UnknownName
from segzoo.registry import Registry, validate_params
from segzoo.spec import ModelSpec, Params, Weights
from segzoo.weights import TransferReport

by_name = pytest.mark.parametrize("spec", BUILTIN_SPECS, ids=lambda spec: spec.name)


def built(spec: ModelSpec, *, in_channels: int = 3, num_classes: int = 3) -> nn.Module:
    """Build a model with its default parameters, the same each time."""
    torch.manual_seed(0)
    return build_from_spec(spec, validate_params(spec, {}), in_channels=in_channels, num_classes=num_classes)


@pytest.mark.parametrize(
    ("batch", "in_channels", "num_classes", "size"),
    [(1, 3, 21, (97, 131)), (2, 1, 1, (64, 64)), (1, 4, 2, (33, 47))],
)
@by_name
def test_logits_have_the_size_of_the_image(
    spec: ModelSpec, batch: int, in_channels: int, num_classes: int, size: tuple[int, int]
) -> None:
    """Square, odd and non-square images of 1, 3 or 4 channels give 1, 2 or 21 scores for each pixel."""
    model = built(spec, in_channels=in_channels, num_classes=num_classes).eval()

    with torch.no_grad():
        logits = model(torch.rand(batch, in_channels, *size))

    assert logits.shape == (batch, num_classes, *size)
    assert logits.isfinite().all()


@by_name
def test_smallest_size_works_and_two_passes_agree(spec: ModelSpec) -> None:
    """An image of ``min_size`` is large enough, and evaluation is a function: it gives the same bits twice."""
    model = built(spec).eval()
    image = torch.rand(1, 3, spec.input.min_size, spec.input.min_size + 1)

    with torch.no_grad():
        assert torch.equal(model(image), model(image))


@by_name
def test_gradient_reaches_every_parameter(spec: ModelSpec) -> None:
    """No parameter is dead: each gets a finite gradient, and each kernel one that is not zero."""
    model = built(spec)

    model(torch.rand(2, 3, 64, 64)).square().mean().backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.ndim == 1 or parameter.grad.any(), name


@by_name
def test_state_dict_has_only_the_parts_of_the_contract(spec: ModelSpec) -> None:
    """Every tensor belongs to the encoder, the decoder or the head."""
    parts = {name.partition(".")[0] for name in built(spec).state_dict()}
    assert {"encoder", "head"} <= parts <= {"encoder", "decoder", "head"}


class Alone(nn.Module):
    """The least that the contract asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()
        self.head = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Return the image."""
        return image


class WidthParams(Params):
    """One parameter with a default."""

    width: int = 8


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Give ``create_model`` a registry of its own."""
    fresh = Registry()
    monkeypatch.setattr(build, "default_registry", lambda: fresh)
    return fresh


def local_spec(monkeypatch: pytest.MonkeyPatch, builder: object) -> ModelSpec:
    """Return a spec whose builder, an object, stands in a module of its own."""
    module = types.ModuleType("local_models")
    module.__dict__["build"] = builder
    monkeypatch.setitem(sys.modules, "local_models", module)
    return ModelSpec(
        name="alone",
        summary="A network for tests",
        family="test",
        builder="local_models:build",
        params=WidthParams,
        license="MIT",
        weights={"imagenet": Weights(hub="acme/alone", revision="main", license="MIT")},
    )


def test_builder_gets_what_the_user_said(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters arrive as an instance of the spec's class, the channels as keywords."""
    calls: list[tuple[object, dict[str, int]]] = []

    def builder(params: WidthParams, **channels: int) -> nn.Module:
        calls.append((params, channels))
        return Alone()

    registry.register(local_spec(monkeypatch, builder))

    assert isinstance(create_model("local/alone", num_classes=4, in_channels=1, width=16), Alone)
    assert calls == [(WidthParams(width=16), {"in_channels": 1, "num_classes": 4})]


def test_typo_in_a_name_is_told_with_a_suggestion(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown model is an error that names the nearest."""
    registry.register(local_spec(monkeypatch, None))

    with pytest.raises(UnknownModel, match=r"no model named 'alon'.*'alone'"):
        create_model("alon", num_classes=2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_classes": 2, "widht": 4}, ParamsError, "widht"),
        ({"num_classes": 2, "width": "4"}, ParamsError, "width"),
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1, got 0"),
        ({"num_classes": 2, "in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
        (
            {"num_classes": 2, "weights": "imagnet"},
            UnknownName,
            "no weight tag of alone named 'imagnet'. Did you mean 'imagenet'",
        ),
        ({"num_classes": 2, "weights": "best.safetensors"}, NotAvailable, "'best.safetensors' is not available"),
        ({"num_classes": 2, "weights": "runs/mine"}, NotAvailable, "'runs/mine' is not available"),
        ({"num_classes": 2, "weights": "hf-hub:acme"}, NotAvailable, "'hf-hub:acme' is not available"),
    ],
)
def test_misuse_is_told_before_the_builder_is_imported(
    registry: Registry, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    """The builder's module does not even exist, and still the user's mistake is what is reported."""
    spec = ModelSpec(
        name="alone",
        summary="A network for tests",
        family="test",
        builder="module_that_does_not_exist:build",
        params=WidthParams,
        license="MIT",
        weights={"imagenet": Weights(hub="acme/alone", revision="main", license="MIT")},
    )
    registry.register(spec)

    with pytest.raises(error, match=message):
        create_model("alone", **arguments)
    with pytest.raises(PluginError, match="module_that_does_not_exist:build of alone cannot be imported"):
        create_model("alone", num_classes=2)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("a string", "returned no nn.Module but str"),
        (nn.Identity(), "has no submodule 'encoder'"),
        (nn.ModuleDict({"encoder": nn.Identity()}), "has no submodule 'head'"),
    ],
)
def test_what_a_builder_returns_is_checked(monkeypatch: pytest.MonkeyPatch, result: object, message: str) -> None:
    """A builder that breaks the contract is a plugin at fault, and the message says how."""
    spec = local_spec(monkeypatch, lambda params, **channels: result)

    with pytest.raises(PluginError, match=message):
        build_from_spec(spec, WidthParams(), num_classes=2, in_channels=3)


def test_import_error_of_a_builder_is_chained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever debugs a plugin finds the cause."""
    spec = local_spec(monkeypatch, None).model_copy(update={"builder": "local_models:missing"})

    with pytest.raises(PluginError, match="AttributeError") as caught:
        build_from_spec(spec, WidthParams(), num_classes=2, in_channels=3)
    assert isinstance(caught.value.__cause__, AttributeError)


def test_weights_are_loaded_and_reported(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A tag reaches the loader with the model and its channels, and one line of the log sums up the transfer."""
    spec = local_spec(monkeypatch, lambda params, **channels: Alone())
    registry.register(spec)
    asked: list[tuple[object, ...]] = []

    def load(model: nn.Module, spec: ModelSpec, tag: str, *, in_channels: int) -> TransferReport:
        asked.append((type(model), spec.name, tag, in_channels))
        return TransferReport("imagenet weights", ("a",), (), ())

    monkeypatch.setattr(build, "load_pretrained", load)

    with caplog.at_level("INFO", logger="segzoo.build"):
        create_model("alone", num_classes=2, in_channels=4, weights="imagenet")

    assert asked == [(Alone, "alone", "imagenet", 4)]
    assert caplog.messages == ["imagenet weights: 1 tensors loaded, 0 adapted, 0 re-initialised"]
