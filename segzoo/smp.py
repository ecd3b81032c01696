"""The encoders and architectures of segmentation_models_pytorch behind segzoo's model contract.

Only this file imports the library. Its constructors take any keyword without a word: what is passed here are the fields
of each architecture's parameters, which have smp's names, and a test compares them with its signatures.
"""

from __future__ import annotations

import math
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base import SegmentationModel
from segmentation_models_pytorch.encoders import TimmUniversalEncoder, TimmViTEncoder
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from segzoo.catalog import smp as catalog
from segzoo.catalog.encoders import TIMM, find_encoder, find_vision_transformer
from segzoo.errors import UsageFault
from segzoo.nn.attention import SqueezeExcitation
from segzoo.nn.conv import check_channels


class EncoderDecoder(nn.Module):
    """The three parts of an architecture of smp, for images of any size.

    Args:
        encoder: Maps an image to features at falling resolution, the image itself first; or to several such lists.
        decoder: Maps what the encoder returns to one feature map.
        head: Maps the feature map to logits of the image's size.
        multiple: Height and width that the parts need are multiples of this many pixels. Images are padded with zeros
            at the bottom and the right, and the logits cropped.
    """

    dropped: tuple[str, ...] = ()
    """Beginnings of the names of tensors that the architecture's encoder has and the logits never depend on."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, head: nn.Module, *, multiple: int = 1) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.multiple = multiple

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``.

        Raises:
            ValueError: In training mode, where a batch norm sees a single value per channel; it names the layer.
        """
        if self.training and not torch.compiler.is_compiling():
            return self._score_or_name_layer(image)
        return self._score(image)

    def _score(self, image: Tensor) -> Tensor:
        if self.multiple == 1:
            return self._logits(image)
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, -width % self.multiple, 0, -height % self.multiple))
        return self._logits(padded)[..., :height, :width]

    def _logits(self, image: Tensor) -> Tensor:
        features = self.encoder(image)
        decoded = self.decoder(*features) if isinstance(features, tuple) else self.decoder(features)
        logits: Tensor = self.head(decoded)
        return logits

    def _score_or_name_layer(self, image: Tensor) -> Tensor:
        try:
            return self._score(image)
        except ValueError as error:
            layer = _batch_norm_behind(error, self)
            if layer is None:
                raise
            raise ValueError(
                f"the layer {layer} cannot train on one image of {image.shape[2]}x{image.shape[3]} pixels: {error}; "
                "use a batch of 2 or more"
            ) from None


class AttendedDecoder(nn.Module):
    """A decoder whose deepest input passes through an attention block.

    The block belongs to the decoder, not the encoder: it has no pretrained weights, so a frozen encoder must not
    freeze it.

    Args:
        attention: Maps the deepest feature map to one of the same shape.
        decoder: Maps a list of feature maps, deepest last, to one; it may take more beside them.
    """

    def __init__(self, attention: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.decoder = decoder

    def forward(self, features: list[Tensor], *others: list[Tensor | None]) -> Tensor:
        """Return the decoder's output."""
        *shallow, deepest = features
        result: Tensor = self.decoder([*shallow, self.attention(deepest)], *others)
        return result


class Dropped(nn.Module):
    """Stands where a part was that the logits never depend on."""

    def forward(self, features: Tensor, *_: object, **__: object) -> Tensor:
        """Return the first input as it came; a part that is dropped may have been given more."""
        return features


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


def drop_dead_parts(model: EncoderDecoder, *, in_channels: int, size: int) -> None:
    """Replace the parts that a model's logits never depend on, and list their names in ``model.dropped``.

    They are found by one step there and back on the meta device, where nothing is computed.

    Args:
        model: The model, in training mode; it is changed.
        in_channels: Channels of the image.
        size: Height and width in pixels that the model takes.
    """
    image = torch.empty(2, in_channels, size, size, device="meta")
    dead = _without_gradient(model, image)
    dropped: list[str] = []
    for name, module in list(model.named_modules()):
        own = {f"{name}.{leaf}" for leaf, _ in module.named_parameters()}
        if own and own <= dead and not f"{name}.".startswith(tuple(dropped)):
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, Dropped())
            dropped.append(f"{name}.")
    model.dropped = tuple(dropped)


def _without_gradient(model: nn.Module, image: Tensor) -> set[str]:
    """Return the names of the parameters that get no gradient from the logits of an image on the meta device."""
    parameters = {
        name: torch.empty_like(value, device="meta", requires_grad=True) for name, value in model.named_parameters()
    }
    buffers = {name: torch.empty_like(value, device="meta") for name, value in model.named_buffers()}
    with torch.enable_grad():  # whoever builds the model may have switched gradients off
        logits = functional_call(model, {**parameters, **buffers}, (image,))
        gradients = torch.autograd.grad(logits.sum(), list(parameters.values()), allow_unused=True)
    return {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None}


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


def _batch_norm_behind(error: ValueError, model: nn.Module) -> str | None:
    """Return the name of the batch norm of the model that raised an error, or None if it was another layer."""
    names: dict[int, str] = {id(layer): name for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = names.get(id(frame.f_locals.get("self")))
        if name is not None:
            return name
    return None


@contextmanager
def _old_names_allowed() -> Iterator[None]:
    """Silence the advice to use timm's newer models: smp still has those that it calls ``timm-...``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`timm-` encoders are deprecated", DeprecationWarning)
        yield
