"""DeepLab-LargeFOV has its published size, its field of view, and scores that lie on every eighth pixel."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segzoo.catalog.vgg import DeepLabLargeFOVParams
from segzoo.models.deeplab_v1 import DeepLabLargeFOV, build


@pytest.fixture(scope="module")
def model() -> DeepLabLargeFOV:
    """A network with two classes; the tests that use it leave its weights as they are."""
    torch.manual_seed(0)
    return DeepLabLargeFOV(num_classes=2)


def test_parameters_and_cost() -> None:
    """21 classes: 20,505,429 parameters, published as 20.5 million; a convolution costs what its features' size says.

    At the paper's training size of 321 the stages work at 321, 161, 81, 41 and 41 pixels, and all that follows at 41.
    """
    with torch.device("meta"):
        network = build(DeepLabLargeFOVParams(), in_channels=3, num_classes=21).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, 321, 321))

    vgg = 14_714_688
    fc6, fc7, score = 9 * 512 * 1024 + 1024, 1024 * 1024 + 1024, 1024 * 21 + 21
    assert sum(parameter.numel() for parameter in network.parameters()) == vgg + fc6 + fc7 + score == 20_505_429
    macs = 321**2 * 9 * (3 * 64 + 64 * 64) + 161**2 * 9 * (64 * 128 + 128 * 128)
    macs += 81**2 * 9 * (128 * 256 + 2 * 256 * 256) + 41**2 * 9 * (256 * 512 + 5 * 512 * 512)
    macs += 41**2 * (9 * 512 * 1024 + 1024 * 1024 + 1024 * 21)
    assert counter.get_total_flops() == 2 * macs


def test_features_have_stride_eight() -> None:
    """The last two stages keep the size of the third, and fc6 and fc7 theirs: 41 positions for 321 pixels."""
    with torch.device("meta"):
        network = DeepLabLargeFOV(num_classes=2)
        pooled = network.encoder(torch.empty(1, 3, 321, 321))

    assert [tuple(features.shape[1:]) for features in pooled] == [
        (64, 161, 161), (128, 81, 81), (256, 41, 41), (512, 41, 41), (512, 41, 41)
    ]  # fmt: skip
    assert network.decoder(pooled[-1]).shape == (1, 1024, 41, 41)


def test_field_of_view(model: DeepLabLargeFOV) -> None:
    """A position of fc7 sees averages of 3x3 features around nine taps, 12 apart."""
    features = torch.rand(1, 512, 27, 29, requires_grad=True)

    model.eval().decoder(features)[0, :, 13, 14].sum().backward()

    assert features.grad is not None
    seen = features.grad[0].any(dim=0)
    expected = torch.zeros_like(seen)
    for row in (1, 13, 25):
        for column in (2, 14, 26):
            expected[row - 1 : row + 2, column - 1 : column + 2] = True
    assert torch.equal(seen, expected)


@pytest.mark.parametrize("size", [(97, 131), (64, 64), (33, 47), (32, 32), (1, 1)])
def test_logits_interpolate_the_scores_of_every_eighth_pixel(model: DeepLabLargeFOV, size: tuple[int, int]) -> None:
    """Logits have the image's size, and the first, ninth, ... pixels have the scores as the head gave them."""
    model.eval()
    found: list[Tensor] = []
    handle = model.head.register_forward_hook(lambda _head, _features, scores: found.append(scores))
    image = torch.rand(1, 3, *size)
    with torch.no_grad():
        logits = model(image)
        again = model(image)
    handle.remove()

    kept = logits[..., ::8, ::8]
    assert logits.shape == (1, 2, *size)
    torch.testing.assert_close(kept, found[0][..., : kept.shape[-2], : kept.shape[-1]], rtol=1e-4, atol=1e-5)
    assert torch.equal(logits, again)


def test_dropout_is_the_parameter() -> None:
    """The builder hands the rate on."""
    with torch.device("meta"):
        network = build(DeepLabLargeFOVParams(dropout=0.25), in_channels=1, num_classes=2)
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.25]


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
        DeepLabLargeFOV(**channels)
