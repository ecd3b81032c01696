"""A network of encoder, decoder and head that takes any size, and the search for parts that do nothing."""

from __future__ import annotations

import traceback

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm


class EncoderDecoder(nn.Module):
    """An encoder, a decoder and a head, for images of any size.

    Args:
        encoder: Maps an image to features at falling resolution, the image itself first; or to several such lists.
        decoder: Maps what the encoder returns to one feature map.
        head: Maps the feature map to logits of the image's size.
        multiple: Height and width that the parts need are multiples of this many pixels. Images are padded with zeros
            at the bottom and the right, and the logits cropped.
    """

    dropped: tuple[str, ...] = ()
    """Prefixes of tensors that the encoder had before parts were dropped that the logits never depend on."""

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


def _batch_norm_behind(error: ValueError, model: nn.Module) -> str | None:
    """Return the name of the batch norm of the model that raised an error, or None if it was another layer."""
    names: dict[int, str] = {id(layer): name for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = names.get(id(frame.f_locals.get("self")))
        if name is not None:
            return name
    return None
