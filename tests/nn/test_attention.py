"""Squeeze-and-excitation computes what its paper writes."""

import numpy as np
import pytest
import torch

from segzoo.nn.attention import SqueezeExcitation


def test_agrees_with_the_formula() -> None:
    """The output is ``x * sigmoid(W2 relu(W1 mean(x) + b1) + b2)``, worked out in numpy."""
    block = SqueezeExcitation(32)
    features = torch.randn(2, 32, 5, 4)
    first, second = block.excite[0], block.excite[2]
    w1, b1, w2, b2 = (
        parameter.detach().numpy().squeeze() for layer in (first, second) for parameter in (layer.weight, layer.bias)
    )

    squeezed = features.numpy().mean(axis=(2, 3))
    hidden = np.maximum(squeezed @ w1.T + b1, 0)
    gates = 1 / (1 + np.exp(-(hidden @ w2.T + b2)))
    expected = features.numpy() * gates[:, :, None, None]

    np.testing.assert_allclose(block(features).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("channels", "reduction", "parameters"), [(512, 16, 33_312), (1280, 16, 206_160), (4, 16, 13)])
def test_parameter_count(channels: int, reduction: int, parameters: int) -> None:
    """Two layers with biases meet at ``channels // reduction`` values, and at one where that would be none."""
    block = SqueezeExcitation(channels, reduction=reduction)

    assert sum(parameter.numel() for parameter in block.parameters()) == parameters


def test_refuses_a_reduction_below_one() -> None:
    """The message holds the value."""
    with pytest.raises(ValueError, match="reduction must be at least 1, got 0"):
        SqueezeExcitation(8, reduction=0)
