"""Building by name checks first; what a model must keep is in test_contract.py."""

import copy
import logging
import pickle
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segzoo import build
from segzoo.build import build_from_spec, create_model
from segzoo.errors import ParamsError, PluginError, UnknownModel, UsageFault
from segzoo.pretrained import Identity
from segzoo.registry import Registry
from segzoo.spec import ModelSpec, Params, Weights
from segzoo.weights import TransferReport


class Alone(nn.Module):
    """The least that the contract asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()
        self.head = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Return the image."""
        return image


class Halving(nn.Module):
    """The least that depends on the image."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(in_channels, 4, 3, stride=2, padding=1)
        self.head = nn.Conv2d(4, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits at half the size."""
        logits: Tensor = self.head(self.encoder(image))
        return logits


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
        ({"num_classes": 2, "widht": 4}, ParamsError, "widht = 4: unknown key. Did you mean 'width'?"),
        ({"num_classes": "2"}, ValueError, "num_classes must be a whole number, got '2'"),
        ({"num_classes": True}, ValueError, "num_classes must be a whole number, got True"),
        ({"num_classes": 2, "in_channels": 2.5}, ValueError, "in_channels must be a whole number, got 2.5"),
        ({"num_classes": 2, "weights": Path("best.pth")}, UsageFault, "no file or run directory is named 'best.pth'"),
        ({"num_classes": 2, "width": "4"}, ParamsError, "width"),
        ({"num_classes": 2, "num_class": 3}, ParamsError, "num_class = 3: unknown key. Did you mean 'num_classes'?"),
        ({"num_class": 3}, TypeError, "'num_classes'"),
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1, got 0"),
        ({"num_classes": 2, "in_channels": 0}, ValueError, "in_channels must be at least 1, got 0"),
        (
            {"num_classes": 2, "weights": "imagnet"},
            UsageFault,
            "no weight tag of alone named 'imagnet'; its tags are imagenet. Did you mean 'imagenet'",
        ),
        ({"num_classes": 2, "weights": "best.pth"}, UsageFault, "no file or run directory is named 'best.pth'"),
        ({"num_classes": 2, "weights": "runs/mine"}, UsageFault, "no file or run directory is named 'runs/mine'"),
        ({"num_classes": 2, "weights": "hf-hub:acme"}, UsageFault, "is written hf-hub:owner/name"),
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
    """A tag reaches the loader with the model and what it is, and one line of the log sums up the transfer."""
    spec = local_spec(monkeypatch, lambda params, **channels: Alone())
    registry.register(spec)
    asked: list[tuple[object, ...]] = []

    def load(model: nn.Module, identity: Identity, weights: str) -> TransferReport:
        asked.append((type(model), identity, weights))
        return TransferReport("imagenet weights", ("a",), (), ())

    monkeypatch.setattr(build, "load_pretrained", load)

    with caplog.at_level("INFO", logger="segzoo.build"):
        create_model("alone", num_classes=2, in_channels=4, weights="imagenet", width=16)

    assert asked == [(Alone, Identity("local/alone", spec, WidthParams(width=16), 4), "imagenet")]
    assert caplog.messages == ["imagenet weights: 1 tensors loaded, 0 adapted, 0 re-initialised"]


def test_a_head_of_other_classes_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever listens to no messages still hears that a head of the file was not taken; a whole fit is quiet."""
    file = tmp_path / "trained.pth"
    torch.save(create_model("fast_scnn", num_classes=3).state_dict(), file)
    with caplog.at_level(logging.WARNING, logger="segzoo"):
        create_model("fast_scnn", num_classes=3, weights=file)
        assert caplog.messages == []
        create_model("fast_scnn", num_classes=5, weights=file)
    (message,) = caplog.messages
    assert "head: re-initialised: the file has 3 classes, the model 5" in message


@pytest.fixture
def halving(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Return a model for images of three channels and at least 32 pixels."""
    registry.register(local_spec(monkeypatch, lambda params, **channels: Halving(**channels)))
    return create_model("alone", num_classes=2).eval()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 64, 64), r"alone takes images (N, 3, H, W), got a tensor (3, 64, 64): add .* image[None]"),
        ((64, 64), r"alone takes images (N, 3, H, W), got a tensor (64, 64)"),
        ((1, 4, 64, 64), r"alone takes images (N, 3, H, W), got a tensor (1, 4, 64, 64): .* in_channels=4"),
        ((1, 3, 31, 64), r"alone takes images of at least 32x32 pixels, got 31x64: resize or pad them"),
        ((2, 3, 64, 31), r"alone takes images of at least 32x32 pixels, got 64x31: resize or pad them"),
    ],
    ids=str,
)
def test_images_that_a_model_does_not_take(halving: nn.Module, shape: tuple[int, ...], message: str) -> None:
    """They are refused by name, however the model is called, and not by a layer inside."""
    before, _, after = message.partition(" .* ")
    for call in (lambda: halving(torch.rand(shape)), lambda: halving(image=torch.rand(shape))):
        with pytest.raises(ValueError, match="takes images") as caught:
            call()
        assert str(caught.value).startswith(before)
        assert str(caught.value).endswith(after)


def test_images_that_a_model_takes(halving: nn.Module) -> None:
    """The smallest image is one of them, and what is no tensor is left to the network."""
    assert halving(torch.rand(2, 3, 32, 33)).shape == (2, 2, 16, 17)
    with pytest.raises(TypeError, match="conv2d"):
        halving("an image")


@pytest.mark.parametrize(("encoder_output_stride", "smallest"), [(16, 128), (32, 256)])
def test_parameters_decide_on_the_smallest_image(encoder_output_stride: int, smallest: int) -> None:
    """What is refused follows the model that was built; the meta device, where nothing is computed, is no exception."""
    with torch.device("meta"):
        model = create_model("smp_pan", num_classes=2, encoder_output_stride=encoder_output_stride).eval()
        with pytest.raises(ValueError, match=f"smp_pan takes images of at least {smallest}x{smallest} pixels, got 64x"):
            model(torch.empty(1, 3, 64, 64))
        assert model(torch.empty(1, 3, smallest, smallest)).shape == (1, 2, smallest, smallest)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_refuse_as_well(halving: nn.Module, duplicate: Callable[[nn.Module], nn.Module]) -> None:
    """Copied or pickled, a model refuses what it did before; its state dict has its tensors and nothing else."""
    twin = duplicate(halving)
    assert list(twin.state_dict()) == ["encoder.weight", "encoder.bias", "head.weight", "head.bias"]
    twin.load_state_dict(halving.state_dict())
    with pytest.raises(ValueError, match="got 16x16"):
        twin(torch.rand(1, 3, 16, 16))


def test_a_graph_of_a_model_takes_images_of_any_size(halving: nn.Module) -> None:
    """Compiled, exported or traced, in one piece and without warnings, a network compares no sizes."""
    image, small = torch.rand(1, 3, 64, 96), torch.rand(1, 3, 16, 24)
    sizes = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings():  # torch.jit is deprecated
        for category in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        traced = torch.jit.trace(halving, image)
    graphs: list[Callable[[Tensor], Tensor]] = [
        traced,
        torch.compile(halving, fullgraph=True, dynamic=True, backend="eager"),
        torch.export.export(halving, (image,), dynamic_shapes=(sizes,)).module(),
    ]
    for graph in graphs:
        assert torch.equal(graph(image), halving(image))
        assert graph(small).shape == (1, 2, 8, 12)
