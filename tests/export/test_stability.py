"""Ties are found, and nothing else is taken for one."""

from __future__ import annotations

import torch
from torch import Tensor

from segzoo.export.stability import find_undecided
from segzoo.nn.pooling import max_pool, max_unpool


def unpool(image: Tensor) -> Tensor:
    """Put maxima back where they were."""
    return max_unpool(*max_pool(image))


EVERYWHERE = torch.ones(1, 8, 16, dtype=torch.bool)


def test_even_areas_are_undecided_by_unpooling() -> None:
    """In an even window any place may be the maximum's; a window with a clear maximum is decided."""
    image = torch.ones(1, 1, 8, 16)
    image[:, :, :, 8:] = torch.arange(64.0).view(8, 8)
    undecided = find_undecided(unpool, image, unpool(image), EVERYWHERE, tolerance=1e-3)
    assert undecided[..., :8].all()
    assert not undecided[..., 8:].any()


def test_only_what_differs_is_asked_for() -> None:
    """Pixels of which nobody says anything else need no explanation."""
    image = torch.ones(1, 1, 8, 16)
    differs = EVERYWHERE.clone()
    differs[..., 4:] = False
    assert torch.equal(find_undecided(unpool, image, unpool(image), differs, tolerance=1e-3), differs)


def test_nothing_is_computed_where_nothing_differs() -> None:
    """The usual case costs nothing."""

    def never(image: Tensor) -> Tensor:
        raise AssertionError

    image = torch.ones(1, 1, 8, 16)
    assert not find_undecided(never, image, image, ~EVERYWHERE, tolerance=1e-3).any()


def test_smooth_networks_decide_everything() -> None:
    """Noise of the last bits moves no logit of a smooth network, however large its logits are."""
    image = torch.rand(1, 1, 8, 16)
    assert not find_undecided(lambda each: 100 * each, image, 100 * image, EVERYWHERE, tolerance=1e-3).any()
