"""DeepLabv2 sums the scores of branches that differ in their atrous rate alone."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segzoo.catalog.vgg import DeepLabV2Params
from segzoo.models.deeplab_v2 import Branches, DeepLabV2, build
from segzoo.nn.vgg import upsample_scores


def test_parameters_and_cost() -> None:
    """21 classes: the features of VGG16 and four times fc6, fc7 and fc8, which work at 41 pixels of the paper's 321."""
    with torch.device("meta"):
        network = build(DeepLabV2Params(), in_channels=3, num_classes=21).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, 321, 321))

    vgg = 14_714_688
    fc6, fc7, fc8 = 9 * 512 * 1024 + 1024, 1024 * 1024 + 1024, 1024 * 21 + 21
    assert sum(parameter.numel() for parameter in network.parameters()) == vgg + 4 * (fc6 + fc7 + fc8) == 37_877_652
    macs = 321**2 * 9 * (3 * 64 + 64 * 64) + 161**2 * 9 * (64 * 128 + 128 * 128)
    macs += 81**2 * 9 * (128 * 256 + 2 * 256 * 256) + 41**2 * 9 * (256 * 512 + 5 * 512 * 512)
    macs += 4 * 41**2 * (9 * 512 * 1024 + 1024 * 1024 + 1024 * 21)
    assert counter.get_total_flops() == 2 * macs


def test_logits_are_the_sum_of_the_branches() -> None:
    """Each branch takes the same features through its own fc6, fc7 and fc8; the sum is enlarged to the image."""
    torch.manual_seed(0)
    model = DeepLabV2(num_classes=2).eval()
    image = torch.rand(1, 3, 33, 49)

    with torch.no_grad():
        features = model.encoder(image)[-1]
        scores = torch.zeros(1, 2, 5, 7)
        for fc, fc8 in zip(model.decoder, model.head, strict=True):
            scores += fc8(fc.fc7(fc.fc6(features).relu()).relu())
        torch.testing.assert_close(model(image), upsample_scores(scores, factor=8, size=(33, 49)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rates", [(6, 12, 18, 24), (2, 4), (1,)])
def test_each_branch_sees_its_rate(rates: Sequence[int]) -> None:
    """Nine positions, as far apart as the branch's rate says."""
    torch.manual_seed(0)
    branches = Branches(rates, dropout=0.5).eval()
    side = 2 * max(rates) + 1
    features = torch.rand(1, 512, side, side + 2, requires_grad=True)
    row, column = side // 2, side // 2 + 1

    for rate, branch in zip(rates, branches, strict=True):
        (grad,) = torch.autograd.grad(branch(features)[0, :, row, column].sum(), features)
        assert [tuple(place) for place in grad[0].any(dim=0).nonzero().tolist()] == [
            (row + down, column + right) for down in (-rate, 0, rate) for right in (-rate, 0, rate)
        ]


def test_rates_are_the_parameter() -> None:
    """The builder makes one branch, and one score, for each rate."""
    with torch.device("meta"):
        network = build(DeepLabV2Params(atrous_rates=(2, 4)), in_channels=3, num_classes=2)

    assert [branch.fc6.dilation for branch in network.decoder] == [(2, 2), (4, 4)]
    assert len(network.head) == 2


@pytest.mark.parametrize("size", [(97, 131), (33, 47), (1, 1)])
def test_logits_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    """Any size works, down to a single pixel."""
    with torch.device("meta"):
        assert DeepLabV2(num_classes=2).eval()(torch.empty(1, 3, *size)).shape == (1, 2, *size)


def test_dropout_is_the_parameter() -> None:
    """The builder hands the rate on to every branch."""
    with torch.device("meta"):
        network = build(DeepLabV2Params(dropout=0.25), in_channels=1, num_classes=2)
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.25] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"num_classes": 2, "in_channels": -1}, "in_channels must be at least 1, got -1"),
        ({"num_classes": 2, "atrous_rates": ()}, r"atrous_rates must be at least one number from 1 on, got \(\)"),
        ({"num_classes": 2, "atrous_rates": (6, 0)}, r"atrous_rates must be at least one .*, got \(6, 0\)"),
    ],
)
def test_refuses_what_makes_no_network(arguments: dict[str, int], message: str) -> None:
    """Used on its own, the class names the value that is wrong."""
    with pytest.raises(ValueError, match=message):
        DeepLabV2(**arguments)
