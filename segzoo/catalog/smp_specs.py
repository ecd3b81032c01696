"""The architectures of segmentation_models_pytorch: a family for each, and presets on three common encoders."""

from __future__ import annotations

from typing import NamedTuple

from segzoo.catalog import smp
from segzoo.catalog.limits import FIXED_SIZE
from segzoo.spec import InputSpec, ModelSpec, Weights


class Architecture(NamedTuple):
    """What all specs of one architecture have in common."""

    name: str
    params: type[smp.SmpParams]
    summary: str
    paper: str
    tags: tuple[str, ...]
    fixed_size: bool = False


_U_SHAPE = ("encoder-decoder", "skip-connections")

UNET = Architecture("unet", smp.UnetParams, "U-Net decoder", "arXiv:1505.04597", _U_SHAPE)

PYRAMIDS = (
    UNET,
    Architecture("unetplusplus", smp.UnetPlusPlusParams, "U-Net++ decoder", "arXiv:1807.10165", (*_U_SHAPE, "dense")),
    Architecture(
        "manet", smp.MAnetParams, "MA-Net decoder", "doi:10.1109/ACCESS.2020.3025372", (*_U_SHAPE, "attention")
    ),
    Architecture("linknet", smp.LinknetParams, "LinkNet decoder", "arXiv:1707.03718", _U_SHAPE),
    Architecture("fpn", smp.FPNParams, "Feature pyramid", "arXiv:1612.03144", ("encoder-decoder", "pyramid")),
    Architecture("pspnet", smp.PSPNetParams, "Pyramid pooling", "arXiv:1612.01105", ("pyramid",), fixed_size=True),
    Architecture("deeplabv3", smp.DeepLabV3Params, "smp's DeepLabv3 head", "arXiv:1706.05587", ("atrous", "aspp")),
    Architecture(
        "deeplabv3plus",
        smp.DeepLabV3PlusParams,
        "smp's DeepLabv3+ decoder",
        "arXiv:1802.02611",
        (*_U_SHAPE, "atrous", "aspp", "separable"),
    ),
    Architecture(
        "pan",
        smp.PANParams,
        "Pyramid attention decoder",
        "arXiv:1805.10180",
        ("encoder-decoder", "pyramid", "atrous", "attention"),
    ),
    Architecture(
        "upernet",
        smp.UPerNetParams,
        "UPerNet decoder",
        "arXiv:1807.10221",
        ("encoder-decoder", "pyramid"),
        fixed_size=True,
    ),
    Architecture("segformer", smp.SegformerParams, "SegFormer decoder", "arXiv:2105.15203", ("encoder-decoder",)),
)

DPT = Architecture("dpt", smp.DPTParams, "DPT decoder", "arXiv:2103.13413", ("encoder-decoder", "transformer"))


def _family(architecture: Architecture, encoders: str) -> ModelSpec:
    """Return the spec of an architecture whose encoder is a parameter, without what its default decides."""
    return ModelSpec(
        name=f"smp_{architecture.name}",
        summary=f"{architecture.summary} on any {encoders}",
        family="smp",
        builder=f"segzoo.smp:build_{architecture.name}",
        params=architecture.params,
        license="MIT",
        papers=(architecture.paper,),
        tags=architecture.tags,
        fixed_export_dims=FIXED_SIZE if architecture.fixed_size else {},
    )


def _preset(architecture: Architecture, encoder: str, attention: smp.Attention | None = None) -> ModelSpec:
    """Return the spec of an architecture on one encoder, named after both."""
    behind = " with squeeze-and-excitation" if attention else ""
    spec = ModelSpec(
        name=f"{architecture.name}_{encoder}" + (f"_{attention}" if attention else ""),
        summary=f"{architecture.summary} on a {encoder} encoder{behind}",
        family="smp",
        builder=f"segzoo.smp:build_{architecture.name}",
        params=architecture.params,
        license="MIT",
        fixed={"encoder": encoder, **({"attention": attention} if attention else {})},
        papers=(architecture.paper, smp.PRESET_ENCODERS[encoder]) + (("arXiv:1709.01507",) if attention else ()),
        tags=architecture.tags + (("attention",) if attention else ()),
        fixed_export_dims=FIXED_SIZE if architecture.fixed_size else {},
    )
    return architecture.params.model_construct(encoder=encoder).refine(spec)


# The same as DPTParams().refine gives, without reading the large table of timm's models for it.
_DPT_FAMILY = _family(DPT, "plain vision transformer of timm").model_copy(
    update={
        "weights": {
            "imagenet": Weights(
                hub="timm/vit_base_patch16_224.augreg_in21k",
                revision="main",
                license="Apache-2.0",
                part="encoder",
                layout="timm",
            )
        },
        "default_weights": "imagenet",
        "input": InputSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), min_size=32),
    }
)

SPECS = (
    *(
        architecture.params.model_construct().refine(_family(architecture, "encoder of smp or timm"))
        for architecture in PYRAMIDS
    ),
    _DPT_FAMILY,
    *(_preset(architecture, encoder) for architecture in PYRAMIDS for encoder in smp.PRESET_ENCODERS),
    *(_preset(UNET, encoder, "se") for encoder in smp.PRESET_ENCODERS),
)
