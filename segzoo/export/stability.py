"""Pixels that a network does not decide: rounding alone moves their logits.

A network that unpools puts each value back where a maximum was. Where two values of a window are almost equal, as in
even areas of an image, the last bit of a sum decides which of them that is, and any other order of the same sum may
decide otherwise: two libraries then differ there by any amount, and neither is wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segzoo.inference.exported import Network

NOISE = 1e-6
"""Standard deviation of what is added to normalised images: about eight of the last bits of a float32."""

TRIALS = 32
"""Each of which moves a tie with a chance of about one half."""


def find_undecided(network: Network, image: Tensor, logits: Tensor, differs: Tensor, *, tolerance: float) -> Tensor:
    """Return those of the pixels that differ, bool ``(N, H, W)``, whose logits noise moves by more than ``tolerance``.

    Args:
        network: The model, in evaluation mode.
        image: ``(N, in_channels, H, W)``, normalised.
        logits: What the model says of it.
        differs: Pixels of which a file says something else, bool ``(N, H, W)``.
        tolerance: How far logits may move.
    """
    generator = torch.Generator().manual_seed(0)
    left = differs.clone()
    for _ in range(TRIALS):
        if not left.any():
            break
        noise = torch.randn(image.shape, generator=generator)
        left &= ~((network(image + NOISE * noise) - logits).abs().amax(dim=1) > tolerance)
    return differs & ~left
