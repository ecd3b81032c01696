"""The encoders and architectures of segmentation_models_pytorch behind segzoo's model contract.

Only this file imports the library. Its constructors take any keyword without a word: what is passed here are the fields
of each architecture's parameters, which have smp's names, and a test compares them with its signatures.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import segmentation_models_pytorch as smp
import timm
from segmentation_models_pytorch.base import SegmentationModel
from segmentation_models_pytorch.encoders import TimmUniversalEncoder, TimmViTEncoder
from torch import Tensor, nn

from segzoo.catalog import smp as catalog
from segzoo.catalog.encoders import TIMM, find_encoder, find_vision_transformer
from segzoo.errors import UsageFault
from segzoo.nn.attention import SqueezeExcitation
from segzoo.nn.conv import check_channels
from segzoo.nn.encoder_decoder import AttendedDecoder, EncoderDecoder, drop_dead_parts


def build_unet(params: catalog.UnetParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's Unet. It resizes feature maps to their skip connections, so images need no padding.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    return _build(
        smp.Unet,
        params,
        in_channels=in_channels,
        num_classes=num_classes,
        derived=_scse(params),
        resizes=True,
        idle_parts=params.attention == "scse",
    )


def build_unetplusplus(params: catalog.UnetPlusPlusParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's Unet++."""
    return _build(
        smp.UnetPlusPlus,
        params,
        in_channels=in_channels,
        num_classes=num_classes,
        derived=_scse(params),
        idle_parts=params.attention == "scse" or params.encoder.startswith("vgg"),
    )


def build_manet(params: catalog.MAnetParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's MA-Net."""
    return _build(smp.MAnet, params, in_channels=in_channels, num_classes=num_classes)


def build_linknet(params: catalog.LinknetParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's LinkNet."""
    return _build(smp.Linknet, params, in_channels=in_channels, num_classes=num_classes)


def build_fpn(params: catalog.FPNParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's FPN. Its pyramid has four levels, so a shallower encoder ends it at a finer one."""
    upsampling = 2 ** (params.encoder_depth - 3)
    return _build(smp.FPN, params, in_channels=in_channels, num_classes=num_classes, derived={"upsampling": upsampling})


def build_pspnet(params: catalog.PSPNetParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's PSPNet, which sees nothing but the deepest feature."""
    upsampling = 2**params.encoder_depth
    return _build(
        smp.PSPNet, params, in_channels=in_channels, num_classes=num_classes, derived={"upsampling": upsampling}
    )


def build_deeplabv3(params: catalog.DeepLabV3Params, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's DeepLabv3."""
    return _build(smp.DeepLabV3, params, in_channels=in_channels, num_classes=num_classes)


def build_deeplabv3plus(params: catalog.DeepLabV3PlusParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's DeepLabv3+."""
    return _build(smp.DeepLabV3Plus, params, in_channels=in_channels, num_classes=num_classes)


def build_pan(params: catalog.PANParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's PAN."""
    return _build(smp.PAN, params, in_channels=in_channels, num_classes=num_classes)


def build_upernet(params: catalog.UPerNetParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's UPerNet."""
    return _build(smp.UPerNet, params, in_channels=in_channels, num_classes=num_classes)


def build_segformer(params: catalog.SegformerParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's SegFormer."""
    return _build(smp.Segformer, params, in_channels=in_channels, num_classes=num_classes)


def build_dpt(params: catalog.DPTParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's DPT, whose position embeddings are interpolated to the size of each image."""
    check_channels(in_channels=in_channels, num_classes=num_classes)
    whole = smp.DPT(
        encoder_name=params.encoder,
        encoder_weights=None,
        in_channels=in_channels,
        classes=num_classes,
        dynamic_img_size=True,
        **_own_parameters(params),
    )
    # A feature map is halved so often that one that is not even would not fit where it is enlarged again.
    multiple = math.lcm(find_vision_transformer(params.encoder).patch, 2 ** (params.encoder_depth + 1))
    model = _take_apart(whole, params, multiple=multiple)
    drop_dead_parts(model, in_channels=in_channels, size=params.smallest)
    return model


def build_encoder(name: str, *, in_channels: int, output_stride: int = 32) -> nn.Module:
    """Return an encoder that maps an image to six feature maps at falling resolution, the image itself first.

    Its attribute ``out_channels`` lists their channels.

    Args:
        name: An encoder of smp, or ``tu-`` and a model of timm.
        in_channels: Channels of the image.
        output_stride: Size of the image over that of the deepest map; 8 and 16 dilate the last stages instead of
            striding.
    """
    with _old_names_allowed():
        encoder: nn.Module = smp.encoders.get_encoder(
            name, in_channels=in_channels, depth=5, weights=None, output_stride=output_stride, **_many_sizes(name)
        )
    return encoder


def timm_tensors(encoder: nn.Module, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a timm checkpoint under the names that an encoder gives them.

    The conversion is timm's own: it builds the same encoder for RGB and loads the file into it.

    Args:
        encoder: An encoder of a model built here, from a ``tu-`` name.
        path: A ``.safetensors`` file of timm's whole classification model.

    Raises:
        ValueError: If the encoder is not timm's, or the file is of another format, which might run code.
        UsageFault: If the file lacks a tensor of the model, or has one too many or of another shape.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"timm's weights are read from .safetensors files only, got {path.name}")
    overlay = {"file": str(path), "custom_load": False}
    try:
        if isinstance(encoder, TimmViTEncoder):
            return _transformer_from_file(encoder, overlay)
        if isinstance(encoder, TimmUniversalEncoder):
            return _pyramid_from_file(encoder, overlay)
    except RuntimeError as error:  # a state dict that does not fit
        reason = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise UsageFault(f"{path.name} does not fit timm's {encoder.name}: {reason}") from None
    raise ValueError(f"{type(encoder).__name__} is not an encoder of timm")


def _pyramid_from_file(encoder: TimmUniversalEncoder, overlay: dict[str, object]) -> dict[str, Tensor]:
    # An encoder takes what it finds in a file and keeps the rest at random; timm's whole model is strict.
    timm.create_model(encoder.name, pretrained=True, pretrained_cfg_overlay=overlay)
    loaded: nn.Module = TimmUniversalEncoder(
        encoder.name,
        pretrained=True,
        depth=encoder._depth,
        output_stride=encoder._output_stride,
        pretrained_cfg_overlay=overlay,
        **_many_sizes(f"{TIMM}{encoder.name}"),
    )
    return loaded.state_dict()


def _transformer_from_file(encoder: TimmViTEncoder, overlay: dict[str, object]) -> dict[str, Tensor]:
    loaded: nn.Module = TimmViTEncoder(
        encoder.name,
        pretrained=True,
        depth=len(encoder._output_indices),
        output_indices=encoder._output_indices,
        dynamic_img_size=True,
        pretrained_cfg_overlay=overlay,
    )
    return loaded.state_dict()


def _build(
    architecture: Callable[..., SegmentationModel],
    params: catalog.PyramidParams,
    *,
    in_channels: int,
    num_classes: int,
    derived: Mapping[str, object] = MappingProxyType({}),
    resizes: bool = False,
    idle_parts: bool = False,
) -> EncoderDecoder:
    """Build an architecture on an encoder with feature maps at falling resolution.

    Args:
        architecture: smp's class.
        params: Its parameters.
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        derived: Arguments of the architecture that follow from the parameters.
        resizes: Whether the decoder fits feature maps to each other, whatever their sizes.
        idle_parts: Whether the decoder has parts that it never calls.
    """
    check_channels(in_channels=in_channels, num_classes=num_classes)
    with _old_names_allowed():
        whole = architecture(
            encoder_name=params.encoder,
            encoder_weights=None,
            in_channels=in_channels,
            classes=num_classes,
            **_own_parameters(params),
            **_many_sizes(params.encoder),
            **derived,
        )
    known = find_encoder(params.encoder)
    multiple = 32
    if known.any_size:
        multiple = 1 if resizes else whole.encoder.output_stride
    model = _take_apart(whole, params, multiple=multiple)
    # The pass costs as much as building the network, so it is spared where it would find nothing.
    if idle_parts or params.encoder_depth < 5 or not known.whole:
        drop_dead_parts(model, in_channels=in_channels, size=params.smallest)
    return model


def _own_parameters(params: catalog.SmpParams) -> dict[str, object]:
    """Return the parameters that have the same name and meaning in smp."""
    return {name: getattr(params, name) for name in type(params).model_fields if name not in ("encoder", "attention")}


def _many_sizes(encoder: str) -> dict[str, object]:
    """Return the argument that some models of timm need so that they take images of many sizes."""
    return {"dynamic_img_size": True} if find_encoder(encoder).dynamic else {}


def _scse(params: catalog.UnetParams) -> dict[str, object]:
    return {"decoder_attention_type": "scse" if params.attention == "scse" else None}


def _take_apart(whole: SegmentationModel, params: catalog.SmpParams, *, multiple: int) -> EncoderDecoder:
    encoder, decoder = whole.encoder, whole.decoder
    if params.attention == "se":
        decoder = AttendedDecoder(SqueezeExcitation(encoder.out_channels[-1]), decoder)
    return EncoderDecoder(encoder, decoder, whole.segmentation_head, multiple=multiple)


@contextmanager
def _old_names_allowed() -> Iterator[None]:
    """Silence the advice to use timm's newer models: smp still has those that it calls ``timm-...``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`timm-` encoders are deprecated", DeprecationWarning)
        yield
