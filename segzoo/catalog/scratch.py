"""Networks built from scratch, each named by its paper."""

from __future__ import annotations

from pydantic import Field

from segzoo.spec import InputSpec, ModelSpec, Params


class SegNetParams(Params):
    """Parameters of ``segnet``."""

    conv_bias: bool = Field(default=True, description="Whether convolutions have a bias beside their batch norm.")


class SegNetPetsParams(Params):
    """``segnet_pets`` is fixed by the article it comes from."""


class FastSCNNParams(Params):
    """Parameters of ``fast_scnn``."""

    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout before the last convolution.")


SPECS = (
    ModelSpec(
        name="segnet",
        summary="VGG16 encoder-decoder that unpools with the encoder's max-pooling indices",
        family="scratch",
        builder="segzoo.models.segnet:build_segnet",
        params=SegNetParams,
        license="MIT",
        papers=("arXiv:1511.00561",),
        tags=("encoder-decoder", "unpooling"),
    ),
    ModelSpec(
        name="segnet_pets",
        summary="SegNet of four levels for 128-pixel pet pictures, with a batch norm as its first layer",
        family="scratch",
        builder="segzoo.models.segnet:build_segnet_pets",
        params=SegNetPetsParams,
        license="MIT",
        # The first batch norm normalises; images come as they are, in [0, 1].
        input=InputSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), min_size=16),
        papers=("arXiv:1511.00561",),
        tags=("encoder-decoder", "unpooling"),
    ),
    ModelSpec(
        name="fast_scnn",
        summary="Two-branch network for real-time segmentation of large images",
        family="scratch",
        builder="segzoo.models.fast_scnn:build",
        params=FastSCNNParams,
        license="MIT",
        papers=("arXiv:1902.04502",),
        tags=("real-time", "two-branch"),
    ),
)
