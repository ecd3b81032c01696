"""Fast-SCNN has its published size, its two branches and its dropout."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segzoo.catalog.scratch import FastSCNNParams
from segzoo.models.fast_scnn import FastSCNN, build


def test_parameters_and_cost() -> None:
    """19 classes: 1,138,051 parameters and 6.708 GMAC at 1024x2048 (1 MAC = 2 FLOPs)."""
    with torch.device("meta"):
        model = FastSCNN(num_classes=19).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 1024, 2048))

    assert sum(parameter.numel() for parameter in model.parameters()) == 1_138_051
    assert f"{counter.get_total_flops() / 2e9:.3f}" == "6.708"


@pytest.mark.parametrize(
    ("size", "detail", "context"),
    [((64, 128), (8, 16), (2, 4)), ((97, 131), (12, 17), (3, 5)), ((32, 32), (4, 4), (1, 1))],
)
def test_branches_work_at_an_eighth_and_at_a_thirty_second(
    size: tuple[int, int], detail: tuple[int, int], context: tuple[int, int]
) -> None:
    """The detail has 64 channels, the context 128, and the decoder joins them at the detail's size."""
    model = FastSCNN(num_classes=2).eval()

    features = model.encoder(torch.rand(1, 3, *size))

    assert [tuple(part.shape) for part in features] == [(1, 64, *detail), (1, 128, *context)]
    assert model.decoder(*features).shape == (1, 128, *detail)


def test_dropout_is_the_parameter_and_acts_only_in_training() -> None:
    """Two passes differ in training mode at a rate of 0.5 and not at 0; in evaluation mode they never differ."""
    image = torch.rand(2, 3, 64, 64)
    for rate in (0.5, 0.0):
        model = build(FastSCNNParams(dropout=rate), in_channels=3, num_classes=2)
        assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [rate]
        assert torch.equal(model(image), model(image)) == (rate == 0.0)
        model.eval()
        assert torch.equal(model(image), model(image))


def test_refuses_to_train_on_one_image() -> None:
    """The message says why and how many there were."""
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        FastSCNN(num_classes=2)(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"num_classes": 2, "in_channels": -1}, "in_channels must be at least 1, got -1"),
    ],
)
def test_refuses_no_channels(channels: dict[str, int], message: str) -> None:
    """Used on its own, the class names the value that is wrong."""
    with pytest.raises(ValueError, match=message):
        FastSCNN(**channels)
