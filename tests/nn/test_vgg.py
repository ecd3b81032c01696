"""VGG16's parts have its tensors, keep their promises on sizes, and line up with the image."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.nn.vgg import VGG16, FullyConnectedAsConv, Score, atrous_vgg16, upsample_scores

SHAPES = [
    (64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256),
    (512, 256), (512, 512), (512, 512), (512, 512), (512, 512), (512, 512),
]  # fmt: skip


@pytest.fixture(scope="module")
def vgg() -> VGG16:
    """The features of VGG16 with random weights."""
    torch.manual_seed(0)
    return VGG16(3)


def sides(pooled: list[Tensor]) -> list[int]:
    """Return the height of each map."""
    return [features.shape[-2] for features in pooled]


def test_holds_the_thirteen_convolutions_and_nothing_else(vgg: VGG16) -> None:
    """3x3 kernels with bias, in the paper's order: 14,714,688 parameters, as the classifier's features have."""
    expected = [shape for outputs, inputs in SHAPES for shape in ((outputs, inputs, 3, 3), (outputs,))]

    assert [tuple(tensor.shape) for tensor in vgg.state_dict().values()] == expected
    assert sum(parameter.numel() for parameter in vgg.parameters()) == 14_714_688


def test_computes_what_the_paper_says(vgg: VGG16) -> None:
    """Each convolution pads by 1 and is followed by a ReLU; stages of 2, 2, 3, 3, 3 end in a 2x2 max-pooling."""
    image = torch.randn(1, 3, 64, 32)
    tensors = iter(vgg.state_dict().values())
    expected, features = [], image
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            features = F.conv2d(features, next(tensors), next(tensors), padding=1).clamp(min=0)
        height, width = features.shape[-2:]
        features = features.unflatten(3, (width // 2, 2)).unflatten(2, (height // 2, 2)).amax(dim=(3, 5))
        expected.append(features)

    torch.testing.assert_close(vgg(image), expected)


@pytest.mark.parametrize(
    ("side", "expected"), [(64, [32, 16, 8, 4, 2]), (97, [49, 25, 13, 7, 4]), (1, [1, 1, 1, 1, 1])]
)
def test_windows_of_two_round_up(side: int, expected: list[int]) -> None:
    """Five poolings divide by 32, and nothing at the border is lost."""
    with torch.device("meta"):
        assert sides(VGG16(3)(torch.empty(1, 3, side, 40))) == expected


def test_first_padding_frames_the_image() -> None:
    """Zeros around the image give what padding the image beforehand gives."""
    torch.manual_seed(0)
    framed, plain = VGG16(1, first_padding=17), VGG16(1)
    plain.load_state_dict(framed.state_dict())
    image = torch.randn(1, 1, 20, 26)

    torch.testing.assert_close(framed(image), plain(F.pad(image, (16, 16, 16, 16))))


@pytest.mark.parametrize("side", [1, 2, 8, 9, 10, 33, 96, 97, 321])
def test_atrous_features_reach_the_last_pixel(side: int) -> None:
    """A feature on every eighth pixel, from the first to the last or one past it, in pool3, pool4 and pool5 alike."""
    with torch.device("meta"):
        deep = sides(atrous_vgg16(3)(torch.empty(1, 3, side, 40)))[2:]

    assert deep == [-(-(side - 1) // 8) + 1] * 3


def test_hole_algorithm_fills_in_between() -> None:
    """At every second position, conv5 of the atrous network is conv5 of the network that pools by 2 instead."""
    torch.manual_seed(0)
    dense = atrous_vgg16(3)
    strided = VGG16(3, pool_size=3)
    strided.load_state_dict(dense.state_dict())
    image = torch.randn(1, 3, 81, 97)

    found, expected = (network.stages[4][:-1](network(image)[3]) for network in (dense, strided))

    assert (found.shape[-2:], expected.shape[-2:]) == ((11, 13), (6, 7))
    torch.testing.assert_close(found[..., ::2, ::2], expected)


def test_convolved_layers_are_the_fully_connected_ones() -> None:
    """On a 7x7 map, fc6 and fc7 give what matrix products with the same weights give, and one position remains."""
    layers = FullyConnectedAsConv(8, kernel_size=7).eval()
    features = torch.randn(2, 512, 7, 7)

    fc6 = F.linear(features.flatten(1), layers.fc6.weight.flatten(1), layers.fc6.bias).relu()
    fc7 = F.linear(fc6, layers.fc7.weight.flatten(1), layers.fc7.bias).relu()

    torch.testing.assert_close(layers(features), fc7[:, :, None, None])


def test_atrous_rate_is_where_the_taps_are() -> None:
    """With padding and dilation of 4, fc6 keeps the size and sees nine positions, 4 apart."""
    layers = FullyConnectedAsConv(16, kernel_size=3, padding=4, dilation=4)
    features = torch.randn(1, 512, 11, 13, requires_grad=True)

    result = layers.fc6(features)
    result[0, :, 5, 6].sum().backward()

    assert result.shape == (1, 16, 11, 13)
    assert features.grad is not None
    assert [tuple(place) for place in features.grad[0].any(dim=0).nonzero().tolist()] == [
        (row, column) for row in (1, 5, 9) for column in (2, 6, 10)
    ]


def test_dropout_follows_both_layers_in_training() -> None:
    """With a rate of 0.5 and all values at 1, what passes both layers is doubled twice or zero; evaluation is exact."""
    layers = FullyConnectedAsConv(64, kernel_size=1, dropout=0.5)
    for layer in (layers.fc6, layers.fc7):
        nn.init.zeros_(layer.weight)
        nn.init.ones_(layer.bias)
    nn.init.dirac_(layers.fc7.weight)
    nn.init.zeros_(layers.fc7.bias)
    features = torch.randn(1, 512, 8, 8)

    share = (layers(features) > 0).float().mean().item()

    assert set(layers(features).unique().tolist()) == {0.0, 4.0}
    assert share == pytest.approx(0.25, abs=0.05)
    assert torch.equal(layers.eval()(features), torch.ones(1, 64, 8, 8))


def test_scores_start_small() -> None:
    """Weights have a deviation of 0.01 and biases are zero."""
    score = Score(4096, 21)

    assert score.kernel_size == (1, 1)
    assert score.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert score.bias is not None
    assert not score.bias.any()


@pytest.mark.parametrize("size", [(1, 1), (8, 9), (9, 17), (10, 24), (33, 47)])
def test_upsampled_scores_keep_their_pixels(size: tuple[int, int]) -> None:
    """Every eighth pixel has its score as it was, and those between lie on straight lines, whatever the size."""
    rows, columns = (torch.arange(0, side + 7, 8.0) for side in size)
    scores = (3 * rows[:, None] - 2 * columns).expand(1, 2, -1, -1)

    logits = upsample_scores(scores, factor=8, size=size)

    assert logits.shape == (1, 2, *size)
    expected = 3 * torch.arange(size[0])[:, None] - 2.0 * torch.arange(size[1])
    torch.testing.assert_close(logits, expected.expand(1, 2, -1, -1), rtol=0, atol=1e-3)
