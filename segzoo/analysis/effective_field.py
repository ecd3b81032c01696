"""The effective receptive field: how much the pixels of an image really weigh (arXiv:1701.04128)."""

from __future__ import annotations

import io
import math

import torch
from PIL import Image
from torch import Tensor, nn

from segzoo.analysis.strip import evaluation_copy, last_map

SIZE = 256
"""Side of the images in pixels, unless another is given."""

TWO_SIGMA = 1 - 0.9545
"""Share of the largest weight from which on a pixel counts, after the paper."""


def effective_field(module: nn.Module, *, in_channels: int, size: int = SIZE, images: int = 8, seed: int = 0) -> Tensor:
    """Average how strongly the output in the middle depends on each pixel, with the module's own weights.

    Args:
        module: A network, or a part of one, that maps ``(N, in_channels, H, W)`` to a map of any size; it stays as it
            is, and is asked in evaluation mode.
        in_channels: Channels of the image.
        size: Side of the images in pixels.
        images: Number of images of random noise.
        seed: Of the noise.

    Returns:
        A map ``(size, size)``, 1 where the dependence is strongest.

    Raises:
        ValueError: If ``images`` is below 1, the module refuses an image of this size or returns no map, or its output
            does not depend on the image.
    """
    if images < 1:
        raise ValueError(f"images must be at least 1, got {images}")
    asked = evaluation_copy(module)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(size, size)
    for _ in range(images):
        image = torch.randn(1, in_channels, size, size, generator=generator).requires_grad_()
        with torch.enable_grad():
            output = last_map(asked(image))
            middle = output[0, :, output.shape[2] // 2, output.shape[3] // 2]
            # Random signs: the sum of all channels may be a constant, as behind a softmax.
            signs = torch.randint(0, 2, middle.shape, generator=generator) * 2.0 - 1.0
            (gradient,) = torch.autograd.grad((middle * signs).sum(), image)
        total += gradient.abs().sum(dim=(0, 1))
    largest = total.max()
    if not 0 < largest < math.inf:
        raise ValueError(f"no effective receptive field: the largest gradient is {largest.item():g}")
    return total / largest


def effective_side(field: Tensor) -> float:
    """Return the side in pixels of the square with as many pixels as weigh more than 4.55 % of the largest weight."""
    return math.sqrt(int((field > TWO_SIGMA).sum()))


def picture(field: Tensor) -> bytes:
    """Return a map as a PNG file, white where the weight is 1; square roots make small weights visible."""
    grey = (field.sqrt() * 255).round().to(torch.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey.numpy()).save(stream, format="PNG")
    return stream.getvalue()
