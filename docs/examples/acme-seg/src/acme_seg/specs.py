"""What segzoo knows of this package's models before it builds one. No torch here: `segzoo list` imports this file."""

from __future__ import annotations

from pydantic import Field
from segzoo import InputSpec, ModelSpec, Params


class UNetLiteParams(Params):
    """Parameters of ``unet_lite``."""

    width: int = Field(default=16, ge=4, le=64, description="Channels at full resolution; each level doubles them.")
    depth: int = Field(default=3, ge=1, le=4, description="How many times the encoder halves the resolution.")


UNET_LITE = ModelSpec(
    name="unet_lite",
    summary="A U-Net of few channels that enlarges with bilinear interpolation",
    family="acme",
    builder="acme_seg.unet_lite:build",
    params=UNetLiteParams,
    license="MIT",
    input=InputSpec(min_size=32),
    papers=("arXiv:1505.04597",),
    tags=("encoder-decoder", "skip-connections"),
)
