"""Test-time augmentation: the mean of what a network says of an image as it is, mirrored, and in several sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import product
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor

from segzoo.inference.method import Augmentation

SCALES = (0.75, 1.0, 1.25)
"""What ``scales`` multiplies height and width with."""


def augmented(
    score: Callable[[Tensor], Tensor], augmentations: Iterable[Augmentation], *, min_size: int
) -> Callable[[Tensor], Tensor]:
    """Return a function like ``score`` that averages probabilities over augmentations of the images.

    Args:
        score: Maps images ``(N, C, H, W)`` of values from 0 to 255 to logits ``(N, K, H, W)``.
        augmentations: ``flip`` adds the mirror image, left and right exchanged; ``scales`` adds the sizes of
            :data:`SCALES`. Together they are six passes.
        min_size: Smallest height and width of a scaled image.

    Returns:
        A function that returns the logarithms of the mean probabilities: logits in their own right. Without
        augmentations it is ``score`` itself.
    """
    chosen = set(augmentations)
    if not chosen:
        return score
    mirrors = (False, True) if "flip" in chosen else (False,)
    scales = SCALES if "scales" in chosen else (1.0,)

    def passes(images: Tensor) -> Iterator[Tensor]:
        height, width = images.shape[-2:]
        for scale, mirrored in product(scales, mirrors):
            seen = images.flip(-1) if mirrored else images
            if scale != 1:
                size = [max(round(side * scale), min_size) for side in (height, width)]
                seen = F.interpolate(seen.float(), size=size, mode="bilinear", align_corners=False, antialias=scale < 1)
            logits = score(seen)
            if scale != 1:
                logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
            probabilities = logits.softmax(1)
            yield probabilities.flip(-1) if mirrored else probabilities

    def mean(images: Tensor) -> Tensor:
        total = reduce(add, passes(images))
        return (total / (len(scales) * len(mirrors))).clamp_min(torch.finfo(total.dtype).tiny).log()

    return mean
