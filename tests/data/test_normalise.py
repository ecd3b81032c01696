"""Each channel is normalised by numbers of its own, which are those that the weights were trained with."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from segzoo.data.normalise import Normalise, channel_statistics
from segzoo.spec import InputSpec
from segzoo.weights.transfer import adapt_first_conv

RGB = InputSpec(mean=(0.1, 0.2, 0.6), std=(0.5, 0.25, 0.75))


def test_each_channel_has_its_numbers() -> None:
    """Bytes are scaled to [0, 1], then normalised per channel."""
    images = torch.tensor([[[[0]], [[51]], [[255]]]], dtype=torch.uint8)
    result = Normalise(RGB.mean, RGB.std)(images)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.flatten(), torch.tensor([-0.1 / 0.5, 0.0, 0.4 / 0.75]))


@pytest.mark.parametrize(("numbers", "channels"), [(1, 3), (3, 1), (3, 4), (5, 3)])
def test_numbers_do_not_stretch(numbers: int, channels: int) -> None:
    """Another number of channels is refused: the numbers of one would apply to all, or one image become three."""
    with pytest.raises(ValueError, match=f"must have {numbers} channels, got {channels}"):
        Normalise((0.5,) * numbers, (0.5,) * numbers)(torch.zeros(1, channels, 2, 2, dtype=torch.uint8))


def test_a_model_with_as_many_numbers_keeps_them() -> None:
    """RGB is what it was, and so are the five channels of a model that states five."""
    assert channel_statistics(RGB, 3) == (RGB.mean, RGB.std)
    five = InputSpec(mean=(0.1, 0.2, 0.3, 0.4, 0.5), std=(0.5, 0.4, 0.3, 0.2, 0.1))
    assert channel_statistics(five, 5) == (five.mean, five.std)


def test_one_channel_gets_the_average() -> None:
    """Grey stands for all three colours."""
    assert channel_statistics(RGB, 1) == (pytest.approx((0.3,)), pytest.approx((0.5,)))


@pytest.mark.parametrize("channels", [2, 4, 5, 13])
def test_other_numbers_take_the_colours_in_turn(channels: int) -> None:
    """No channel is without numbers, and none has those of all."""
    mean, std = channel_statistics(RGB, channels)
    assert mean == tuple(RGB.mean[channel % 3] for channel in range(channels))
    assert std == tuple(RGB.std[channel % 3] for channel in range(channels))


@pytest.mark.parametrize("times", [2, 3])
def test_they_agree_with_the_weights(times: int) -> None:
    """An image whose bands are those of RGB repeated scores as it did in RGB."""
    torch.manual_seed(0)
    image = torch.randint(256, (2, 3, 5, 5), dtype=torch.uint8)
    weight = torch.randn(4, 3, 3, 3)
    channels = 3 * times
    repeated = Normalise(*channel_statistics(RGB, channels))(image.repeat(1, times, 1, 1))
    torch.testing.assert_close(
        F.conv2d(repeated, adapt_first_conv(weight, channels)), F.conv2d(Normalise(RGB.mean, RGB.std)(image), weight)
    )


def test_grey_agrees_with_the_weights() -> None:
    """Where the three colours have equal numbers, a grey image scores as it did in RGB."""
    torch.manual_seed(0)
    half = InputSpec(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    image = torch.randint(256, (2, 1, 5, 5), dtype=torch.uint8)
    weight = torch.randn(4, 3, 3, 3)
    grey = Normalise(*channel_statistics(half, 1))(image)
    torch.testing.assert_close(
        F.conv2d(grey, adapt_first_conv(weight, 1)),
        F.conv2d(Normalise(half.mean, half.std)(image.expand(-1, 3, -1, -1)), weight),
    )
