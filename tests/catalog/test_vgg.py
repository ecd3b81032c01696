"""The networks on VGG16 offer its ImageNet weights, and their encoders have the places for them."""

import pytest
import torch
from segmentation_models_pytorch.encoders.vgg import vgg_encoders
from torch import nn

from segzoo.build import build_from_spec
from segzoo.catalog.vgg import SPECS, DeepLabV2Params, FCNParams, SegNetParams
from segzoo.errors import ParamsError, RecipeError
from segzoo.params import validate_params
from segzoo.plugins import default_registry
from segzoo.recipe import load_recipe
from segzoo.recipe.resolve import resolve_recipe
from segzoo.spec import ModelSpec

BY_NAME = {spec.name: spec for spec in SPECS}

by_name = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)

INPUTS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512)
OUTPUTS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def weights_of(*overrides: str) -> str | None:
    """Return the weights that a recipe on SegNet starts from."""
    recipe = load_recipe("quickstart", ("model.name=segnet", *overrides))
    return resolve_recipe(recipe, default_registry()).model.weights


def test_names() -> None:
    """Each network is named by its paper."""
    assert list(BY_NAME) == ["segnet", "fcn32s", "fcn16s", "fcn8s", "deeplab_largefov", "deeplabv2_aspp"]


@by_name
def test_weights_are_those_that_smp_pins(spec: ModelSpec) -> None:
    """The tag names the same file of the same commit as the installed smp does."""
    encoder = "vgg16_bn" if spec.name == "segnet" else "vgg16"
    pinned = vgg_encoders[encoder]["pretrained_settings"]["imagenet"]
    weights = spec.weights["imagenet"]

    assert (weights.hub, weights.revision) == (pinned["repo_id"], pinned["revision"])
    assert (weights.part, weights.layout, weights.filename) == ("encoder", "vgg", "model.safetensors")


@by_name
def test_encoder_has_a_place_for_each_tensor_of_the_file(spec: ModelSpec) -> None:
    """In module order: VGG16's 13 convolutions with bias, for SegNet each with its batch norm, and nothing else."""
    with torch.device("meta"):
        model = build_from_spec(spec, validate_params(spec, {}), in_channels=3, num_classes=2)
    layers = [layer for layer in model.encoder.modules() if list(layer.parameters(recurse=False))]
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]

    assert [(conv.in_channels, conv.out_channels) for conv in convs] == list(zip(INPUTS, OUTPUTS, strict=True))
    assert all(conv.kernel_size == (3, 3) and conv.bias is not None for conv in convs)
    assert [norm.num_features for norm in norms] == (list(OUTPUTS) if spec.name == "segnet" else [])
    assert layers == ([layer for pair in zip(convs, norms, strict=True) for layer in pair] if norms else convs)


def test_segnet_without_biases_has_no_weights() -> None:
    """The file holds biases: with ``conv_bias`` off there is no tag, and a recipe that names it is told so."""
    spec = BY_NAME["segnet"]

    assert spec.refined(SegNetParams()) == spec
    refined = spec.refined(SegNetParams(conv_bias=False))
    assert (refined.weights, refined.default_weights) == ({}, None)
    assert refined.input == spec.input
    assert weights_of("transfer.strategy=finetune", "model.params.conv_bias=false") is None


def test_segnet_starts_from_imagenet_unless_told_otherwise() -> None:
    """As published; training from scratch and an explicit null both mean random weights."""
    assert weights_of("transfer.strategy=finetune") == "imagenet"
    assert weights_of("transfer.strategy=finetune", "model.weights=null") is None
    assert weights_of() is None
    with pytest.raises(RecipeError, match="'scratch' starts from random weights"):
        weights_of("model.weights=imagenet")


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("fcn8s", {"dropuot": 0.1}, "dropuot.*Did you mean 'dropout'"),
        ("fcn8s", {"dropout": 1.0}, "dropout"),
        ("deeplab_largefov", {"atrous_rates": [6]}, "atrous_rates"),
        ("deeplabv2_aspp", {"atrous_rates": []}, "atrous_rates"),
        ("deeplabv2_aspp", {"atrous_rates": [6, 0]}, "atrous_rates"),
    ],
)
def test_params_are_strict(name: str, given: dict[str, object], message: str) -> None:
    """A typo, a value out of range and another model's parameter are errors that name the key."""
    with pytest.raises(ParamsError, match=message):
        validate_params(BY_NAME[name], given)


def test_defaults_are_the_papers() -> None:
    """Half of the values are dropped, and the four rates are those of ASPP-L."""
    assert FCNParams().dropout == 0.5
    assert DeepLabV2Params() == DeepLabV2Params(atrous_rates=(6, 12, 18, 24), dropout=0.5)
