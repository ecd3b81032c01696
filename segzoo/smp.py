"""The encoders and architectures of segmentation_models_pytorch behind segzoo's model contract.

Only this file imports the library. Its constructors take any keyword without a word, so each call here passes nothing
but names that the installed signature has.
"""

from __future__ import annotations

import segmentation_models_pytorch as smp
from torch import Tensor, nn

from segzoo.catalog.smp import UnetParams
from segzoo.nn.attention import SqueezeExcitation
from segzoo.nn.conv import check_channels


class EncoderDecoder(nn.Module):
    """The three parts of an architecture of smp, without what smp builds around them.

    Args:
        encoder: Maps an image to features at falling resolution, the image itself first.
        decoder: Maps that list to one feature map.
        head: Maps the feature map to logits of the image's size.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``."""
        logits: Tensor = self.head(self.decoder(self.encoder(image)))
        return logits


class AttendedDecoder(nn.Module):
    """A decoder whose deepest input passes through an attention block.

    The block belongs to the decoder, not the encoder: it has no pretrained weights, so a frozen encoder must not
    freeze it.

    Args:
        attention: Maps the deepest feature map to one of the same shape.
        decoder: Maps a list of feature maps, deepest last, to one.
    """

    def __init__(self, attention: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.decoder = decoder

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the decoder's output."""
        *shallow, deepest = features
        result: Tensor = self.decoder([*shallow, self.attention(deepest)])
        return result


def build_unet(params: UnetParams, *, in_channels: int, num_classes: int) -> EncoderDecoder:
    """Return smp's Unet, which takes images of any size: it resizes each feature map to its skip connection.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    check_channels(in_channels=in_channels, num_classes=num_classes)
    unet = smp.Unet(
        encoder_name=params.encoder,
        encoder_weights=None,
        decoder_channels=params.decoder_channels,
        decoder_attention_type="scse" if params.attention == "scse" else None,
        in_channels=in_channels,
        classes=num_classes,
    )
    decoder: nn.Module = unet.decoder
    if params.attention == "se":
        decoder = AttendedDecoder(SqueezeExcitation(unet.encoder.out_channels[-1]), decoder)
    return EncoderDecoder(unet.encoder, decoder, unet.segmentation_head)


def build_encoder(name: str, *, in_channels: int, output_stride: int = 32) -> nn.Module:
    """Return an encoder that maps an image to six feature maps at falling resolution, the image itself first.

    Its attribute ``out_channels`` lists their channels.

    Args:
        name: An encoder of smp, or ``tu-`` and a model of timm.
        in_channels: Channels of the image.
        output_stride: Size of the image over that of the deepest map; 8 and 16 dilate the last stages instead of
            striding.
    """
    encoder: nn.Module = smp.encoders.get_encoder(
        name, in_channels=in_channels, depth=5, weights=None, output_stride=output_stride
    )
    return encoder
