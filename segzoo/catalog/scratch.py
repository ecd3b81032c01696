"""Networks built from scratch, each named by its paper."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segzoo.spec import InputSpec, ModelSpec, Params

UNET_UNPADDED_MIN_SIZE = 188
"""The smallest side in pixels of which U-Net without padding leaves something."""

UNET_UNPADDED_MARGIN = 92
"""The pixels along each border that U-Net without padding does not score."""

UNetUpsampling = Literal["transposed", "bilinear", "pixel_shuffle"]

AS_IT_IS = InputSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), min_size=16)
"""Images in [0, 1], for networks that normalise by themselves."""


class UNetParams(Params):
    """Parameters of ``unet``."""

    padding: Literal[0, 1] = Field(
        default=1,
        description="1: logits of the image's size; 0: the paper's network, whose logits are smaller (572 gives 388).",
    )
    upsampling: UNetUpsampling = Field(default="transposed", description="How the expanding path doubles the size.")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Dropout at the end of the two deepest levels.")

    def refine(self, spec: ModelSpec) -> ModelSpec:
        """Return the spec with the smallest image and the margin that the padding implies."""
        if self.padding:
            return spec
        unpadded = {"min_size": UNET_UNPADDED_MIN_SIZE, "margin": UNET_UNPADDED_MARGIN}
        return spec.model_copy(update={"input": spec.input.model_copy(update=unpadded)})


class SegNetPetsParams(Params):
    """``segnet_pets`` and ``segnet_pets_separable`` are fixed by the articles they come from."""


class SegNetBasicParams(Params):
    """``segnet_basic`` is fixed by its paper."""


class FastSCNNParams(Params):
    """Parameters of ``fast_scnn``."""

    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout before the last convolution.")


SPECS = (
    ModelSpec(
        name="unet",
        summary="Contracting and expanding path with a skip connection at every level, without batch norm",
        family="scratch",
        builder="segzoo.models.unet:build",
        params=UNetParams,
        license="MIT",
        input=InputSpec(min_size=16),
        papers=("arXiv:1505.04597",),
        tags=("encoder-decoder", "skip-connections"),
    ),
    ModelSpec(
        name="segnet_pets",
        summary="SegNet of four levels for 128-pixel pet pictures, with a batch norm as its first layer",
        family="scratch",
        builder="segzoo.models.segnet:build_segnet_pets",
        params=SegNetPetsParams,
        license="MIT",
        input=AS_IT_IS,
        papers=("arXiv:1511.00561",),
        tags=("encoder-decoder", "unpooling"),
    ),
    ModelSpec(
        name="segnet_pets_separable",
        summary="segnet_pets of depthwise-separable convolutions, with a ninth of its parameters",
        family="scratch",
        builder="segzoo.models.segnet:build_segnet_pets_separable",
        params=SegNetPetsParams,
        license="MIT",
        input=AS_IT_IS,
        papers=("arXiv:1511.00561", "arXiv:1704.04861"),
        tags=("encoder-decoder", "unpooling", "separable"),
    ),
    ModelSpec(
        name="segnet_basic",
        summary="Small SegNet of 7x7 convolutions: four levels of 64 channels, no ReLU in the decoder",
        family="scratch",
        builder="segzoo.models.segnet_basic:build",
        params=SegNetBasicParams,
        license="MIT",
        input=AS_IT_IS,
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
