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

TRIALS = 8
"""Each of which finds a tie with a chance of about one half."""


def find_undecided(network: Network, image: Tensor, logits: Tensor, *, tolerance: float) -> Tensor:
    """Return the pixels, bool ``(N, H, W)``, whose logits move by more than ``tolerance`` under noise of that size.

    Args:
        network: The model, in evaluation mode.
        image: ``(N, in_channels, H, W)``, normalised.
        logits: What the model says of it.
        tolerance: How far logits may move.
    """
    generator = torch.Generator().manual_seed(0)
    undecided = torch.zeros_like(logits[:, 0], dtype=torch.bool)
    for _ in range(TRIALS):
        noise = torch.randn(image.shape, generator=generator)
        moved = (network(image + NOISE * noise) - logits).abs().amax(dim=1)
        undecided |= moved > tolerance
    return undecided
