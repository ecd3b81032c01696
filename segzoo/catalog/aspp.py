"""DeepLab heads built from scratch on pretrained encoders."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from segzoo.catalog.smp import ENCODER_WEIGHTS, PRESET_ENCODERS
from segzoo.spec import InputSpec, ModelSpec, Params

Rate = Annotated[int, Field(gt=0)]


class ASPPParams(Params):
    """Parameters of the ASPP heads."""

    encoder: Literal["resnet18", "resnet34", "mobilenet_v2"]
    attention: Literal["se"] | None = Field(
        default=None, description="'se': squeeze-and-excitation on the deepest encoder feature."
    )
    output_stride: Literal[8, 16] = Field(
        default=16, description="Size of the image over that of the deepest feature; 8 is finer and costs more."
    )
    atrous_rates: tuple[Rate, Rate, Rate] | None = Field(
        default=None, description="Rates of the atrous convolutions; null: 6, 12, 18, or twice that at stride 8."
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout behind the pyramid.")


def _spec(head: str, encoder: str, *, summary: str, paper: str, tags: tuple[str, ...]) -> ModelSpec:
    """Return the spec of one head on one encoder, named after both."""
    return ModelSpec(
        name=f"{head}_{encoder}",
        summary=f"{summary} on a {encoder} encoder",
        family="scratch",
        builder=f"segzoo.models.aspp:build_{head}",
        params=ASPPParams,
        license="MIT",
        fixed={"encoder": encoder},
        weights={"imagenet": ENCODER_WEIGHTS[encoder]},
        default_weights="imagenet",
        input=InputSpec(min_size=32),
        papers=(paper, PRESET_ENCODERS[encoder]),
        tags=tags,
    )


SPECS = (
    *(
        _spec("aspp", encoder, summary="DeepLabv3 head", paper="arXiv:1706.05587", tags=("atrous", "aspp"))
        for encoder in PRESET_ENCODERS
    ),
    *(
        _spec(
            "aspp_plus",
            encoder,
            summary="DeepLabv3+ decoder",
            paper="arXiv:1802.02611",
            tags=("encoder-decoder", "skip-connections", "atrous", "aspp", "separable"),
        )
        for encoder in PRESET_ENCODERS
    ),
)
