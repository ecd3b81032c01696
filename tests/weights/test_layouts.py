"""Tensors get the names that the model gives them, whatever the file calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import vgg16, vgg16_bn

from segzoo.build import build_from_spec
from segzoo.catalog import BUILTIN_SPECS
from segzoo.errors import UsageFault
from segzoo.params import validate_params
from segzoo.spec import ModelSpec
from segzoo.weights.layouts import named_as_model, vgg_tensors


class Model(nn.Module):
    """An encoder in two stages that are not registered in the order of their names, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"late": stage(3, 4), "early": stage(4, 5)})
        self.head = nn.Conv2d(5, 2, 1)


def stage(before: int, after: int) -> nn.Sequential:
    """Return a convolution with its batch norm."""
    return nn.Sequential(nn.Conv2d(before, after, 3), nn.BatchNorm2d(after), nn.ReLU())


def name(
    model: nn.Module,
    tensors: dict[str, Tensor],
    *,
    layout: Literal["own", "vgg", "timm"] = "own",
    part: Literal["encoder", "model"] = "encoder",
) -> dict[str, Tensor]:
    """Return the tensors under the model's names."""
    return named_as_model(model, tensors, Path("file.safetensors"), layout=layout, part=part)


def vgg(widths: tuple[int, ...] = (3, 4, 5), *, gap: int = 3) -> dict[str, Tensor]:
    """Return tensors as torchvision's VGG names them, with other layers in between, the last layer first."""
    tensors = {"classifier.0.weight": torch.rand(2, 2), "classifier.0.bias": torch.rand(2)}
    for index in reversed(range(len(widths) - 1)):
        layers = stage(widths[index], widths[index + 1])
        for leaf, tensor in layers.state_dict().items():
            position, _, rest = leaf.partition(".")
            tensors[f"features.{gap * index + int(position)}.{rest}"] = torch.rand(tensor.shape)
    return tensors


def test_a_whole_model_is_taken_as_it_is() -> None:
    """The model's own names need no change."""
    tensors = Model().state_dict()
    assert name(Model(), tensors, part="model") == tensors


def test_an_encoders_tensors_are_put_under_the_encoder() -> None:
    """A classifier that came with them is left out, unless the encoder has tensors of that name."""
    tensors = {"late.0.weight": torch.rand(1), "fc.weight": torch.rand(1), "head.fc.weight": torch.rand(1)}
    assert name(Model(), tensors).keys() == {"encoder.late.0.weight"}

    model = Model()
    model.encoder["fc"] = nn.Linear(2, 2)
    assert name(model, tensors).keys() == {"encoder.late.0.weight", "encoder.fc.weight"}


def test_vgg_goes_to_the_layers_in_their_order() -> None:
    """Positions count as numbers: the ninth layer comes before the tenth, and names of the encoder do not matter."""
    tensors = vgg(gap=9)

    named = name(Model(), tensors, layout="vgg")

    pairs = {"late.0": "features.0", "late.1": "features.1", "early.0": "features.9", "early.1": "features.10"}
    leaves = {0: ("weight", "bias"), 1: ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    expected = {
        f"encoder.{own}.{leaf}": tensors[f"{given}.{leaf}"]
        for own, given in pairs.items()
        for leaf in leaves[int(own[-1])]
    }
    assert named.keys() == expected.keys()
    assert all(named[key] is expected[key] for key in expected)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (vgg((3, 4, 5, 5)), "the file has 3 convolutions, the encoder 2"),
        (vgg((3, 4)), "the file has 1 convolutions, the encoder 2"),
        ({key: tensor for key, tensor in vgg().items() if tensor.ndim == 4}, "the file has 0 batch norms, the encoder"),
        ({**vgg(), "features.7.running_mean": torch.rand(2)}, "the file has 3 batch norms, the encoder 2"),
        ({**vgg(), "conv1.weight": torch.rand(2)}, "the file has conv1.weight, which is not a name of torchvision's"),
        ({**vgg(), "features.x.weight": torch.rand(2)}, "the file has features.x.weight"),
    ],
)
def test_what_is_not_this_vgg_is_refused(tensors: dict[str, Tensor], message: str) -> None:
    """Another number of layers, or a name that VGG has not."""
    with pytest.raises(UsageFault, match=message):
        vgg_tensors(Model().encoder, tensors)


@pytest.mark.parametrize(
    "spec", [spec for spec in BUILTIN_SPECS if any(tag.layout == "vgg" for tag in spec.weights.values())]
)
def test_torchvisions_vgg16_fits_the_catalog(spec: ModelSpec) -> None:
    """Every convolution, and every batch norm where there are any, has its place in each encoder built on VGG16."""
    with torch.device("meta"):
        model = build_from_spec(spec, validate_params(spec, {}), in_channels=3, num_classes=2)
        norms = any(isinstance(layer, nn.BatchNorm2d) for layer in model.get_submodule("encoder").modules())
        tensors = (vgg16_bn() if norms else vgg16()).state_dict()

    own = model.get_submodule("encoder").state_dict()
    named = vgg_tensors(model.get_submodule("encoder"), tensors)
    assert {name: tensor.shape for name, tensor in named.items()} == {name: own[name].shape for name in own}
    assert sum(tensor.ndim == 4 for tensor in named.values()) == 13


def test_timms_names_are_left_to_the_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter gets the encoder and the file; what it returns is put under the encoder."""
    asked: list[tuple[nn.Module, Path]] = []

    def convert(encoder: nn.Module, path: Path) -> dict[str, Tensor]:
        asked.append((encoder, path))
        return {"fc.weight": torch.ones(1)}

    monkeypatch.setattr("segzoo.smp.timm_tensors", convert)
    model = Model()

    assert name(model, {"stem.weight": torch.zeros(1)}, layout="timm") == {"encoder.fc.weight": torch.ones(1)}
    assert asked == [(model.encoder, Path("file.safetensors"))]


def test_parts_that_the_adapter_removed_are_left_out() -> None:
    """Tensors under a dropped name are ignored, others of a similar name are not."""
    model = Model()
    model.dropped = ("encoder.layer4.", "encoder.norm.")  # type: ignore[assignment]
    tensors = {key: torch.rand(1) for key in ("layer4.weight", "layer40.weight", "norm.bias", "late.0.weight")}
    assert name(model, tensors).keys() == {"encoder.layer40.weight", "encoder.late.0.weight"}
