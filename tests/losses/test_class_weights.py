"""Class weights follow the papers they are named after."""

import math

import numpy as np
import pytest

from segzoo.losses import enet_weights, median_frequency_weights


def test_median_frequency_weights_agree_with_numpy() -> None:
    """The median of the frequencies that are not 0, over each; an absent class weighs 0 and is not in the median."""
    class_pixels, image_pixels = [900, 50, 0, 30, 20], [1000, 500, 0, 1000, 250]
    frequency = np.array([900 / 1000, 50 / 500, 30 / 1000, 20 / 250])

    weights = median_frequency_weights(class_pixels, image_pixels)

    expected = np.median(frequency) / frequency
    assert weights == pytest.approx([expected[0], expected[1], 0, expected[2], expected[3]], rel=1e-12)


def test_enet_weights_agree_with_the_paper() -> None:
    """1 / ln(1.02 + share): about 50.5 for a class that never occurs, about 1.42 for one that is everywhere."""
    pixels = [600, 300, 0, 100]

    assert enet_weights(pixels) == pytest.approx([1 / math.log(1.02 + count / 1000) for count in pixels], rel=1e-12)
    assert enet_weights([7, 0]) == pytest.approx([1.42, 50.5], rel=1e-2)
    assert all(math.isfinite(weight) for weight in enet_weights([0, 0]))
