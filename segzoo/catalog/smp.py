"""The parameters of the architectures of segmentation_models_pytorch, under smp's own names.

smp's constructors swallow any keyword, and take values on which the network fails only when it runs. These classes
refuse both, by name and before torch is imported.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from segzoo.catalog.encoders import (
    Encoder,
    encoder_weights,
    find_encoder,
    find_vision_transformer,
    names_of_encoders,
    pretrained,
)
from segzoo.spec import ModelSpec, Params

PRESET_ENCODERS = {
    "resnet18": "arXiv:1512.03385",
    "resnet34": "arXiv:1512.03385",
    "mobilenet_v2": "arXiv:1801.04381",
}
"""The encoders of presets, with their papers."""

ENCODER_WEIGHTS = {name: encoder_weights(name)["imagenet"] for name in PRESET_ENCODERS}
"""The ImageNet weights of the encoders that presets are made of."""

PositiveInt = Annotated[int, Field(gt=0)]
Channels = tuple[PositiveInt, ...]
Rates = tuple[PositiveInt, PositiveInt, PositiveInt]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Attention = Literal["se", "scse"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "area", "nearest-exact"]
# The others that smp lists fail on feature maps ("layernorm"), fail when they are built ("instancenorm"), or need a
# package of their own ("inplace").
Norm = Literal["batchnorm", "identity"]

# Several classes share these fields; each gets a copy of its own from pydantic.
_DEPTH = "Stages of the encoder, each at half the size of the one before."
_BLOCKS = "Channels of the decoder's blocks, deepest first: one for each stage of the encoder."
_NORM = "What follows the decoder's convolutions: a batch norm, or nothing."
_ENLARGE = "How the decoder enlarges feature maps."
_RATES = "Rates of the three atrous convolutions."
_SEPARABLE = "Whether the atrous convolutions are depthwise separable."
_STRIDE = "Size of the image over that of the deepest feature; a smaller one dilates the encoder's last stages."

SCSE_REDUCTION = 16
"""What smp's decoder attention divides channels by: fewer of them would leave none."""


POOLED_SIZES = 4
"""Sizes to which PSPNet pools; each gets an equal share of the channels."""


class SmpParams(Params):
    """What every architecture of smp takes."""

    # Validators are built when a class is first used, not when models are listed.
    model_config = ConfigDict(defer_build=True)

    attentions: ClassVar[tuple[str, ...]] = ("se",)

    encoder: str = Field(default="resnet34", description="An encoder of smp, or 'tu-' and a model of timm.")
    attention: Literal["se"] | None = Field(
        default=None, description="'se': squeeze-and-excitation on the deepest encoder feature."
    )

    @property
    def smallest(self) -> int:
        """Smallest height and width in pixels that the network takes."""
        return 32

    def refine(self, spec: ModelSpec) -> ModelSpec:
        """Return the spec with the weights of this encoder, and the normalisation that they were trained with."""
        return spec.model_copy(update=pretrained(self.encoder, min_size=self.smallest))

    @field_validator("attention", mode="before")
    @classmethod
    def _known_attention(cls, attention: object) -> object:
        if attention is not None and attention not in cls.attentions:
            raise ValueError("'se' works for every smp model, 'scse' for smp_unet and smp_unetplusplus")
        return attention


class PyramidParams(SmpParams):
    """What the architectures take whose encoder gives feature maps at falling resolution."""

    encoder_depth: Literal[3, 4, 5] = Field(default=5, description=_DEPTH)

    def misfit(self, encoder: Encoder) -> str | None:
        """Return what an encoder cannot do that this architecture needs with these parameters, or None."""
        if self.encoder_depth < 5 and not encoder.cuts:
            return f"cannot be cut to an encoder_depth of {self.encoder_depth}"
        return None

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, encoder: str) -> str:
        find_encoder(encoder)
        return encoder

    @model_validator(mode="after")
    def _encoder_fits(self) -> PyramidParams:
        reason = self.misfit(find_encoder(self.encoder))
        if reason is not None:
            fitting = names_of_encoders(lambda encoder: self.misfit(encoder) is None)
            raise ValueError(f"the encoder {self.encoder!r} {reason}; those that can be used: {fitting}")
        return self


class BlockParams(PyramidParams):
    """What the architectures take whose decoder has a block for each stage of the encoder."""

    decoder_channels: Channels = Field(default=(256, 128, 64, 32, 16), description=_BLOCKS)

    @model_validator(mode="after")
    def _one_block_for_each_stage(self) -> BlockParams:
        if len(self.decoder_channels) != self.encoder_depth:
            raise ValueError(
                f"decoder_channels has {len(self.decoder_channels)} values, but encoder_depth is "
                f"{self.encoder_depth}: it takes one for each stage"
            )
        return self


class UnetParams(BlockParams):
    """Parameters of smp's Unet."""

    attentions: ClassVar[tuple[str, ...]] = ("se", "scse")

    attention: Attention | None = Field(  # type: ignore[assignment] # wider than in the architectures without scse
        default=None,
        description="'se': squeeze-and-excitation on the deepest encoder feature; 'scse': smp's decoder attention.",
    )
    decoder_use_norm: Norm = Field(default="batchnorm", description=_NORM)
    decoder_interpolation: Interpolation = Field(default="nearest", description=_ENLARGE)

    @model_validator(mode="after")
    def _scse_has_channels(self) -> UnetParams:
        if self.attention == "scse" and min(self.decoder_channels) < SCSE_REDUCTION:
            raise ValueError(
                f"attention 'scse' needs decoder_channels of {SCSE_REDUCTION} or more, got {min(self.decoder_channels)}"
            )
        return self


class UnetPlusPlusParams(UnetParams):
    """Parameters of smp's Unet++."""

    def misfit(self, encoder: Encoder) -> str | None:
        """Return what an encoder cannot do that this architecture needs with these parameters, or None."""
        if encoder.name.startswith("mit_b"):
            return "is refused by smp for this architecture"
        narrowest = min(channels for channels in encoder.channels if channels)
        if self.attention == "scse" and narrowest < SCSE_REDUCTION:
            return f"has a feature map of {narrowest} channels; attention 'scse' needs {SCSE_REDUCTION}"
        return super().misfit(encoder)


class MAnetParams(BlockParams):
    """Parameters of smp's MA-Net."""

    decoder_use_norm: Norm = Field(default="batchnorm", description=_NORM)
    decoder_pab_channels: PositiveInt = Field(default=64, description="Channels of the position-wise attention.")
    decoder_interpolation: Interpolation = Field(default="nearest", description=_ENLARGE)


class LinknetParams(PyramidParams):
    """Parameters of smp's LinkNet."""

    decoder_use_norm: Norm = Field(default="batchnorm", description=_NORM)

    def misfit(self, encoder: Encoder) -> str | None:
        """Return what an encoder cannot do that this architecture needs, or None."""
        if encoder.name.startswith("mit_b"):
            return "is refused by smp for this architecture"
        return super().misfit(encoder)


class FPNParams(PyramidParams):
    """Parameters of smp's FPN."""

    decoder_pyramid_channels: PositiveInt = Field(default=256, description="Channels of the pyramid's levels.")
    decoder_segmentation_channels: int = Field(
        default=128, gt=0, multiple_of=32, description="Channels of the layers behind the pyramid, in groups of 32."
    )
    decoder_merge_policy: Literal["add", "cat"] = Field(default="add", description="How the levels are merged.")
    decoder_dropout: Dropout = Field(default=0.2, description="Share of channels dropped before the head.")
    decoder_interpolation: Interpolation = Field(default="nearest", description=_ENLARGE)

    def misfit(self, encoder: Encoder) -> str | None:
        """Return what an encoder cannot do that this architecture needs with these parameters, or None."""
        if self.encoder_depth < 5 and encoder.channels[0] == 0:
            return f"has no feature map at half the image's size, which encoder_depth {self.encoder_depth} needs"
        return super().misfit(encoder)


class PSPNetParams(PyramidParams):
    """Parameters of smp's PSPNet."""

    encoder_depth: Literal[3, 4, 5] = Field(default=3, description=_DEPTH)
    psp_out_channels: PositiveInt = Field(default=512, description="Channels behind the pyramid pooling.")
    psp_dropout: Dropout = Field(default=0.2, description="Share of channels dropped before the head.")
    decoder_use_norm: Norm = Field(default="batchnorm", description=_NORM)

    def misfit(self, encoder: Encoder) -> str | None:
        """Return what an encoder cannot do that this architecture needs with these parameters, or None."""
        deepest = encoder.channels[self.encoder_depth - 1]
        if deepest % POOLED_SIZES != 0:
            return f"ends with {deepest} channels, which smp cannot share out among {POOLED_SIZES} sizes of pooling"
        if not encoder.whole and not encoder.cuts:
            return "has stages beside each other, and this architecture would read only the deepest"
        return super().misfit(encoder)


class DilatedParams(PyramidParams):
    """What the architectures take that may dilate the encoder's last stages instead of striding."""

    encoder_output_stride: Literal[8, 16, 32] = Field(default=16, description=_STRIDE)

    def misfit(self, encoder: Encoder) -> str | None:
        """Return what an encoder cannot do that this architecture needs with these parameters, or None."""
        if self.encoder_output_stride not in encoder.strides:
            return f"cannot be dilated to encoder_output_stride {self.encoder_output_stride}"
        return super().misfit(encoder)


class DeepLabV3Params(DilatedParams):
    """Parameters of smp's DeepLabv3."""

    encoder_output_stride: Literal[8, 16] = Field(default=8, description=_STRIDE)
    decoder_channels: PositiveInt = Field(default=256, description="Channels of the pyramid and behind it.")
    decoder_atrous_rates: Rates = Field(default=(12, 24, 36), description=_RATES)
    decoder_aspp_separable: bool = Field(default=False, description=_SEPARABLE)
    decoder_aspp_dropout: Dropout = Field(default=0.5, description="Share of values dropped behind the pyramid.")


class DeepLabV3PlusParams(DilatedParams):
    """Parameters of smp's DeepLabv3+."""

    encoder_output_stride: Literal[8, 16] = Field(default=16, description=_STRIDE)
    decoder_channels: PositiveInt = Field(default=256, description="Channels of the pyramid and behind it.")
    decoder_atrous_rates: Rates = Field(default=(12, 24, 36), description=_RATES)
    decoder_aspp_separable: bool = Field(default=True, description=_SEPARABLE)
    decoder_aspp_dropout: Dropout = Field(default=0.5, description="Share of values dropped behind the pyramid.")


class PANParams(DilatedParams):
    """Parameters of smp's PAN."""

    encoder_output_stride: Literal[16, 32] = Field(default=16, description=_STRIDE)
    decoder_channels: PositiveInt = Field(default=32, description="Channels of the decoder.")
    decoder_interpolation: Interpolation = Field(default="bilinear", description=_ENLARGE)

    @property
    def smallest(self) -> int:
        """Smallest height and width in pixels: the deepest feature is halved three times."""
        deepest: int = min(self.encoder_output_stride, 2**self.encoder_depth)
        return 8 * deepest


class UPerNetParams(PyramidParams):
    """Parameters of smp's UPerNet."""

    decoder_channels: PositiveInt = Field(default=256, description="Channels of the decoder.")
    decoder_use_norm: Norm = Field(default="batchnorm", description=_NORM)


class SegformerParams(PyramidParams):
    """Parameters of smp's SegFormer."""

    encoder: str = Field(default="mit_b0", description="An encoder of smp, or 'tu-' and a model of timm.")
    decoder_segmentation_channels: PositiveInt = Field(default=256, description="Channels of the decoder.")


class DPTParams(SmpParams):
    """Parameters of smp's DPT, whose encoder is a plain vision transformer."""

    encoder: str = Field(
        default="tu-vit_base_patch16_224.augreg_in21k", description="'tu-' and a plain vision transformer of timm."
    )
    encoder_depth: Literal[1, 2, 3, 4] = Field(default=4, description="Number of feature maps that are used.")
    encoder_output_indices: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None, description="Blocks whose feature maps are used, counted from 0; null: spread evenly."
    )
    decoder_readout: Literal["ignore", "add", "cat"] = Field(
        default="cat",
        description="What becomes of the class token: joined to each patch's features, added, or ignored.",
    )
    decoder_intermediate_channels: Channels = Field(
        default=(256, 512, 1024, 1024),
        description="Channels of the feature maps that are used, before they are fused.",
    )
    decoder_fusion_channels: PositiveInt = Field(default=256, description="Channels of the fused feature maps.")

    @field_validator("encoder")
    @classmethod
    def _known_encoder(cls, encoder: str) -> str:
        find_vision_transformer(encoder)
        return encoder

    @model_validator(mode="after")
    def _as_many_as_encoder_depth(self) -> DPTParams:
        for name in ("decoder_intermediate_channels", "encoder_output_indices"):
            values = getattr(self, name)
            if values is not None and len(values) != self.encoder_depth:
                raise ValueError(f"{name} has {len(values)} values, but encoder_depth is {self.encoder_depth}")
        return self

    @model_validator(mode="after")
    def _indices_are_blocks(self) -> DPTParams:
        indices, blocks = self.encoder_output_indices, find_vision_transformer(self.encoder).blocks
        if indices is not None and (list(indices) != sorted(set(indices)) or indices[-1] >= blocks):
            raise ValueError(
                f"encoder_output_indices must rise and stay below the {blocks} blocks of {self.encoder!r}, "
                f"got {list(indices)}"
            )
        return self

    @model_validator(mode="after")
    def _token_exists(self) -> DPTParams:
        if self.decoder_readout != "ignore" and not find_vision_transformer(self.encoder).class_token:
            raise ValueError(f"{self.encoder!r} has no class token: decoder_readout must be 'ignore'")
        return self
