"""Networks on VGG16, each named by its paper; their encoders start from its ImageNet weights."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from segzoo.spec import ModelSpec, Params, Weights

VGG16 = Weights(
    hub="smp-hub/vgg16.imagenet",
    revision="49d74b799006ee252b86e25acd6f1fd8ac9a99c1",
    license="BSD-3-Clause",
    part="encoder",
    layout="vgg",
)
VGG16_BN = Weights(
    hub="smp-hub/vgg16_bn.imagenet",
    revision="2c186d02fb519e93219a99a1c2af6295aef0bf0d",
    license="BSD-3-Clause",
    part="encoder",
    layout="vgg",
)

Dropout = Annotated[float, Field(ge=0, lt=1, description="Dropout after fc6 and fc7.")]
PositiveInt = Annotated[int, Field(gt=0)]


class SegNetParams(Params):
    """Parameters of ``segnet``."""

    conv_bias: bool = Field(
        default=True,
        description="Whether convolutions have a bias beside their batch norm, as the pretrained ones do.",
    )

    def refine(self, spec: ModelSpec) -> ModelSpec:
        """Return the spec, without weights where the convolutions have no place for their biases."""
        if self.conv_bias:
            return spec
        return spec.model_copy(update={"weights": {}, "default_weights": None})


class FCNParams(Params):
    """Parameters of ``fcn32s``, ``fcn16s`` and ``fcn8s``."""

    dropout: Dropout = 0.5


class DeepLabLargeFOVParams(Params):
    """Parameters of ``deeplab_largefov``."""

    dropout: Dropout = 0.5


class DeepLabV2Params(Params):
    """Parameters of ``deeplabv2_aspp``."""

    atrous_rates: tuple[PositiveInt, ...] = Field(
        default=(6, 12, 18, 24),
        min_length=1,
        description="Rate of each branch; the paper has 6, 12, 18, 24 (ASPP-L) and 2, 4, 8, 12 (ASPP-S).",
    )
    dropout: Dropout = 0.5


def _fcn(stride: int, fused: str, *tags: str) -> ModelSpec:
    """Return the spec of the FCN whose scores have this stride."""
    return ModelSpec(
        name=f"fcn{stride}s",
        summary=f"Fully convolutional VGG16 that scores {fused} and enlarges the scores by {stride}",
        family="scratch",
        builder=f"segzoo.models.fcn:build_fcn{stride}s",
        params=FCNParams,
        license="MIT",
        weights={"imagenet": VGG16},
        default_weights="imagenet",
        papers=("arXiv:1411.4038", "arXiv:1409.1556"),
        tags=("fully-convolutional", *tags),
    )


SPECS = (
    ModelSpec(
        name="segnet",
        summary="VGG16 encoder-decoder that unpools with the encoder's max-pooling indices",
        family="scratch",
        builder="segzoo.models.segnet:build_segnet",
        params=SegNetParams,
        license="MIT",
        weights={"imagenet": VGG16_BN},
        default_weights="imagenet",
        papers=("arXiv:1511.00561",),
        tags=("encoder-decoder", "unpooling"),
    ),
    _fcn(32, "its last features"),
    _fcn(16, "its last features and pool4", "skip-connections"),
    _fcn(8, "its last features, pool4 and pool3", "skip-connections"),
    ModelSpec(
        name="deeplab_largefov",
        summary="VGG16 with atrous convolutions and a large field of view (DeepLab v1, without its CRF)",
        family="scratch",
        builder="segzoo.models.deeplab_v1:build",
        params=DeepLabLargeFOVParams,
        license="MIT",
        weights={"imagenet": VGG16},
        default_weights="imagenet",
        papers=("arXiv:1412.7062", "arXiv:1409.1556"),
        tags=("atrous",),
    ),
    ModelSpec(
        name="deeplabv2_aspp",
        summary="Atrous VGG16 with the summed scores of four fields of view (DeepLab v2, without its CRF)",
        family="scratch",
        builder="segzoo.models.deeplab_v2:build",
        params=DeepLabV2Params,
        license="MIT",
        weights={"imagenet": VGG16},
        default_weights="imagenet",
        papers=("arXiv:1606.00915", "arXiv:1409.1556"),
        tags=("atrous", "aspp"),
    ),
)
