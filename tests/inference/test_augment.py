"""Test-time augmentation averages what a network says of variants of an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segzoo.inference.augment import augmented


def test_nothing_is_the_network_itself() -> None:
    """Without augmentations not a bit of the logits changes."""

    def score(images: Tensor) -> Tensor:
        return images

    assert augmented(score, (), min_size=1) is score


def test_mirror_images_are_mirrored_back() -> None:
    """The mean over both is what numpy makes of it: a network that looks left only then looks right as well."""
    weights = torch.tensor([[[[1.0, 2.0, 0.0]]], [[[0.0, 1.0, 0.0]]]])

    def score(images: Tensor) -> Tensor:
        return F.conv2d(images, weights, padding=(0, 1))

    image = torch.randn(1, 1, 4, 6)
    found = augmented(score, ("flip",), min_size=1)(image)
    expected = (score(image).softmax(1) + score(image.flip(-1)).softmax(1).flip(-1)) / 2
    assert torch.allclose(found.exp(), expected, atol=1e-6)
    mirrored = augmented(score, ("flip",), min_size=1)(image.flip(-1)).flip(-1)
    assert torch.allclose(found, mirrored, atol=1e-5)


def test_scales_are_seen_and_taken_back() -> None:
    """The network sees three sizes, none below its smallest, and the result has the image's."""
    seen: list[tuple[int, ...]] = []

    def score(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape[-2:]))
        return images[:, :2].float()

    found = augmented(score, ("flip", "scales"), min_size=36)(torch.zeros(1, 3, 40, 80, dtype=torch.uint8))
    assert found.shape == (1, 2, 40, 80)
    assert seen == [(36, 60)] * 2 + [(40, 80)] * 2 + [(50, 100)] * 2
    assert torch.allclose(found.exp().sum(1), torch.ones(1, 40, 80), atol=1e-5)
