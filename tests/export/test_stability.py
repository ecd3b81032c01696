"""Ties are found, and nothing else is taken for one."""

from __future__ import annotations

import torch
from torch import Tensor

from segzoo.export.stability import find_undecided
from segzoo.nn.pooling import max_pool, max_unpool


def unpool(image: Tensor) -> Tensor:
    """Put maxima back where they were."""
    return max_unpool(*max_pool(image))


def test_even_areas_are_undecided_by_unpooling() -> None:
    """In an even window any place may be the maximum's; a window with a clear maximum is decided."""
    image = torch.ones(1, 1, 8, 16)
    image[:, :, :, 8:] = torch.arange(64.0).view(8, 8)
    undecided = find_undecided(unpool, image, unpool(image), tolerance=1e-3)
    assert undecided.shape == (1, 8, 16)
    assert undecided[..., :8].float().mean() > 0.9
    assert not undecided[..., 8:].any()


def test_smooth_networks_decide_everything() -> None:
    """Noise of the last bits moves no logit of a smooth network, however large its logits are."""
    image = torch.rand(2, 1, 8, 8)
    assert not find_undecided(lambda each: 100 * each, image, 100 * image, tolerance=1e-3).any()
