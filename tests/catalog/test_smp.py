"""What smp would swallow or only fail on later is refused by name, before torch is imported."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import ValidationError

from segzoo.catalog.smp import (
    ENCODER_WEIGHTS,
    DeepLabV3Params,
    DeepLabV3PlusParams,
    DPTParams,
    FPNParams,
    LinknetParams,
    MAnetParams,
    PANParams,
    PSPNetParams,
    SegformerParams,
    SmpParams,
    UnetParams,
    UnetPlusPlusParams,
    UPerNetParams,
)
from segzoo.catalog.smp_specs import SPECS
from segzoo.errors import ParamsError
from segzoo.params import validate_params
from segzoo.spec import IMAGENET_MEAN, ModelSpec

CLASSES: list[type[SmpParams]] = [
    DeepLabV3Params,
    DeepLabV3PlusParams,
    DPTParams,
    FPNParams,
    LinknetParams,
    MAnetParams,
    PANParams,
    PSPNetParams,
    SegformerParams,
    UnetParams,
    UnetPlusPlusParams,
    UPerNetParams,
]


def spec(name: str) -> ModelSpec:
    """Return a built-in spec."""
    return next(spec for spec in SPECS if spec.name == name)


def refusal(name: str, **params: object) -> str:
    """Return what is said of wrong parameters."""
    with pytest.raises(ParamsError) as refused:
        validate_params(spec(name), params)
    return str(refused.value)


@pytest.mark.parametrize("params", CLASSES)
def test_defaults_are_valid(params: type[SmpParams]) -> None:
    """Each class can be built without a word, and what it holds survives JSON."""
    defaults = params()
    assert params.model_validate_json(json.dumps(defaults.model_dump(mode="json"))) == defaults


@pytest.mark.parametrize("params", CLASSES)
def test_every_parameter_is_described(params: type[SmpParams]) -> None:
    """``segzoo show`` prints one line for each."""
    for name, field in params.model_fields.items():
        assert (field.description or "").endswith("."), name


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("unet_resnet34", {"atention": "se"}, r"atention = \"se\": unknown key. Did you mean 'attention'\?"),
        (
            "unet_resnet34",
            {"encoder": "resnet43"},
            r"encoder = 'resnet43': .*has 'resnet34'. Did you mean 'resnet34'\?",
        ),
        ("unet_resnet34", {"attention": "cbam"}, r"attention = \"cbam\": .*'se'.*'scse' for smp_unet"),
        ("unet_resnet34", {"num_class": 3}, r"num_class = 3: unknown key. Known keys: encoder, attention"),
        ("smp_unet", {"encoder": "resnet43"}, r"no encoder named 'resnet43'. Did you mean .*'resnet34'"),
        ("smp_unet", {"encoder": "resnext50"}, r"no encoder named 'resnext50'. Did you mean .*'resnext50_32x4d'"),
        ("smp_unet", {"encoder": "convnext_tiny"}, r"no encoder named .* Did you mean .*'tu-convnext_tiny'"),
        ("smp_unet", {"decoder_use_norm": "layernorm"}, r"expected 'batchnorm', 'identity'"),
        ("smp_fpn", {"attention": "scse"}, r"attention = \"scse\": .*'scse' for smp_unet and smp_unetplusplus"),
        ("smp_fpn", {"attention": 1}, r"attention = 1: 'se' works"),
        ("smp_fpn", {"decoder_segmentation_channels": 100}, r"multiple of 32"),
        ("smp_fpn", {"decoder_merge_policy": "sum"}, r"expected 'add', 'cat'"),
        ("smp_pspnet", {"psp_dropout": 1.0}, r"psp_dropout = 1.0: .*less than 1"),
        ("smp_deeplabv3", {"decoder_atrous_rates": [6, 12]}, r"decoder_atrous_rates.2: this item is required"),
        ("smp_deeplabv3", {"encoder_output_stride": 32}, r"encoder_output_stride = 32: expected 8, 16"),
        ("smp_pan", {"encoder_output_stride": 8}, r"encoder_output_stride = 8: expected 16, 32"),
        ("smp_unet", {"encoder_depth": 2}, r"encoder_depth = 2: expected 3, 4, 5"),
        ("smp_unet", {"encoder_weights": "imagenet"}, r"encoder_weights = \"imagenet\": unknown key"),
    ],
)
def test_wrong_names_and_values(name: str, params: dict[str, object], message: str) -> None:
    """Each is told with the value and what could stand there."""
    assert re.search(message, refusal(name, **params))


@pytest.mark.parametrize("name", ["smp_unet", "smp_unetplusplus", "smp_manet"])
def test_decoder_channels_follow_the_depth(name: str) -> None:
    """The decoder has a block for each stage of the encoder; smp says so only when it builds it."""
    message = refusal(name, encoder_depth=4)
    assert "decoder_channels has 5 values, but encoder_depth is 4: it takes one for each stage" in message

    validate_params(spec(name), {"encoder_depth": 4, "decoder_channels": [64, 32, 16, 16]})


@pytest.mark.parametrize("name", ["smp_unet", "smp_unetplusplus"])
def test_scse_needs_channels_to_squeeze(name: str) -> None:
    """Smp divides channels by 16 and would build convolutions without any."""
    channels = [256, 128, 64, 32, 8]
    assert "decoder_channels of 16 or more, got 8" in refusal(name, attention="scse", decoder_channels=channels)

    validate_params(spec(name), {"attention": "scse"})
    validate_params(spec(name), {"decoder_channels": channels})


@pytest.mark.parametrize(
    ("name", "params", "reason"),
    [
        ("smp_deeplabv3", {"encoder": "vgg16"}, "cannot be dilated to encoder_output_stride 8"),
        ("smp_deeplabv3plus", {"encoder": "densenet121"}, "cannot be dilated to encoder_output_stride 16"),
        ("smp_pan", {"encoder": "xception"}, "cannot be dilated to encoder_output_stride 16"),
        ("smp_unetplusplus", {"encoder": "mit_b0"}, "is refused by smp for this architecture"),
        ("smp_linknet", {"encoder": "mit_b5"}, "is refused by smp for this architecture"),
        ("smp_unetplusplus", {"encoder": "dpn68", "attention": "scse"}, "has a feature map of 10 channels"),
        ("smp_fpn", {"encoder": "mit_b0", "encoder_depth": 4}, "has no feature map at half the image's size"),
        ("smp_pspnet", {"encoder": "tu-ecaresnet50d_pruned"}, "ends with 171 channels"),
        ("smp_pspnet", {"encoder": "tu-hrnet_w18", "encoder_depth": 5}, "has stages beside each other"),
        ("smp_fpn", {"encoder": "tu-hrnet_w18", "encoder_depth": 4}, "cannot be cut to an encoder_depth of 4"),
    ],
)
def test_encoder_that_does_not_fit(name: str, params: dict[str, object], reason: str) -> None:
    """The message says why, and which encoders work with the same parameters."""
    message = refusal(name, **params)

    assert f"the encoder {params['encoder']!r} {reason}" in message
    assert re.search(r"those that can be used: resnet18, resnet34, .*, \.\.\. \(\d{3} in all\)$", message)


def test_pan_without_dilation_takes_every_encoder() -> None:
    """What an encoder must be able to do depends on the parameters."""
    validate_params(spec("smp_pan"), {"encoder": "vgg16", "encoder_output_stride": 32})


@pytest.mark.parametrize(
    ("params", "size"),
    [
        ({}, 128),
        ({"encoder_output_stride": 32}, 256),
        ({"encoder_output_stride": 32, "encoder_depth": 4}, 128),
        ({"encoder_depth": 3}, 64),
    ],
)
def test_smallest_image_of_pan_follows_the_parameters(params: dict[str, object], size: int) -> None:
    """Its deepest feature is halved three times."""
    pan = spec("smp_pan")
    assert pan.refined(validate_params(pan, params)).input.min_size == size


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"encoder": "resnet34"}, "smp_dpt needs a plain vision transformer"),
        ({"encoder": "tu-resnet34"}, "smp_dpt needs a plain vision transformer"),
        ({"encoder": "tu-vit_bas_patch16_224"}, "Did you mean .*'tu-vit_base_patch16_224'"),
        ({"encoder_depth": 3}, "decoder_intermediate_channels has 4 values, but encoder_depth is 3"),
        ({"encoder_output_indices": [0, 1, 2]}, "encoder_output_indices has 3 values, but encoder_depth is 4"),
        ({"encoder_output_indices": [0, 1, 2, 12]}, "stay below the 12 blocks .*got \\[0, 1, 2, 12\\]"),
        ({"encoder_output_indices": [0, 2, 1, 3]}, "must rise .*got \\[0, 2, 1, 3\\]"),
        ({"encoder": "tu-vit_medium_patch16_gap_256"}, "has no class token: decoder_readout must be 'ignore'"),
    ],
)
def test_parameters_of_dpt(params: dict[str, object], message: str) -> None:
    """It takes vision transformers only, and what is asked of one must be in it."""
    assert re.search(message, refusal("smp_dpt", **params))


def test_vision_transformer_without_a_class_token() -> None:
    """With ``decoder_readout`` ``"ignore"`` it is as good as any."""
    validate_params(spec("smp_dpt"), {"encoder": "tu-vit_medium_patch16_gap_256", "decoder_readout": "ignore"})


def test_vision_transformer_is_no_pyramid() -> None:
    """The other architectures say which one takes it."""
    assert "smp_dpt takes it" in refusal("smp_unet", encoder="tu-vit_base_patch16_224")


def test_weights_and_normalisation_follow_the_encoder() -> None:
    """A family's spec speaks of its default encoder, the refined one of the encoder that was chosen."""
    unet = spec("smp_unet")
    refined = unet.refined(validate_params(unet, {"encoder": "inceptionv4"}))

    assert unet.weights["imagenet"].hub == "smp-hub/resnet34.imagenet"
    assert unet.input.mean == IMAGENET_MEAN
    assert refined.weights["imagenet"].hub == "smp-hub/inceptionv4.imagenet"
    assert refined.input.mean == (0.5, 0.5, 0.5)
    assert refined.default_weights == "imagenet"
    assert ModelSpec.model_validate(dict(refined)) == refined


def test_weights_of_the_presets_encoders() -> None:
    """Other families use them, too."""
    assert {name: weights.hub for name, weights in ENCODER_WEIGHTS.items()} == {
        "resnet18": "smp-hub/resnet18.imagenet",
        "resnet34": "smp-hub/resnet34.imagenet",
        "mobilenet_v2": "smp-hub/mobilenet_v2.imagenet",
    }


def test_parameters_are_strict() -> None:
    """A number is no text, and an unknown name no parameter."""
    with pytest.raises(ValidationError):
        UnetParams.model_validate({"encoder_depth": "5"})
    with pytest.raises(ValidationError):
        UnetParams.model_validate({"decoder_chanels": (1, 2, 3, 4, 5)})
