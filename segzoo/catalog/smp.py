"""Architectures of segmentation_models_pytorch on pretrained encoders."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from segzoo.spec import InputSpec, ModelSpec, Params, Weights

Attention = Literal["se", "scse"]
PositiveInt = Annotated[int, Field(gt=0)]

ENCODER_WEIGHTS = {
    "resnet18": Weights(
        hub="smp-hub/resnet18.imagenet",
        revision="3f2325ff978283d47aa6a1d6878ca20565622683",
        license="BSD-3-Clause",
        part="encoder",
    ),
    "resnet34": Weights(
        hub="smp-hub/resnet34.imagenet",
        revision="7a57b34f723329ff020b3f8bc41771163c519d0c",
        license="BSD-3-Clause",
        part="encoder",
    ),
    "mobilenet_v2": Weights(
        hub="smp-hub/mobilenet_v2.imagenet",
        revision="e67aa804e17f7b404b629127eabbd224c4e0690b",
        license="BSD-3-Clause",
        part="encoder",
    ),
}


class UnetParams(Params):
    """Parameters of smp's Unet, under smp's names."""

    encoder: str
    attention: Attention | None = Field(
        default=None,
        description="'se': squeeze-and-excitation on the deepest encoder feature; 'scse': smp's decoder attention.",
    )
    decoder_channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = Field(
        default=(256, 128, 64, 32, 16), description="Channels of the decoder's blocks, deepest first."
    )


def _unet_preset(encoder: str, attention: Attention | None = None) -> ModelSpec:
    """Return the spec of a Unet on one encoder, named after both."""
    name = f"unet_{encoder}" + (f"_{attention}" if attention else "")
    return ModelSpec(
        name=name,
        summary=f"U-Net decoder on a {encoder} encoder" + (" with squeeze-and-excitation" if attention else ""),
        family="smp",
        builder="segzoo.smp:build_unet",
        params=UnetParams,
        license="MIT",
        fixed={"encoder": encoder, **({"attention": attention} if attention else {})},
        weights={"imagenet": ENCODER_WEIGHTS[encoder]},
        default_weights="imagenet",
        input=InputSpec(min_size=32),
        papers=("arXiv:1505.04597", _ENCODER_PAPERS[encoder]) + (("arXiv:1709.01507",) if attention else ()),
        tags=("encoder-decoder", "skip-connections") + (("attention",) if attention else ()),
    )


_ENCODER_PAPERS = {
    "resnet18": "arXiv:1512.03385",
    "resnet34": "arXiv:1512.03385",
    "mobilenet_v2": "arXiv:1801.04381",
}

SPECS = (
    *(_unet_preset(encoder) for encoder in ENCODER_WEIGHTS),
    *(_unet_preset(encoder, "se") for encoder in ENCODER_WEIGHTS),
)
