"""FCN has its published sizes, and its crops put every score where it belongs."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segzoo.catalog.vgg import FCNParams
from segzoo.models.fcn import FCN, BilinearDeconv, Head, build_fcn8s, build_fcn16s, build_fcn32s

by_stride = pytest.mark.parametrize(
    ("build", "stride"), [(build_fcn32s, 32), (build_fcn16s, 16), (build_fcn8s, 8)], ids=["32s", "16s", "8s"]
)


@pytest.fixture(scope="module")
def fcn8s() -> FCN:
    """The largest graph of the three, with real tensors; the tests that use it leave its weights as they are."""
    torch.manual_seed(0)
    return FCN(num_classes=3, stride=8)


@pytest.mark.parametrize(
    ("build", "parameters", "gmacs"),
    [
        (build_fcn32s, 136_152_917, "190.19"),
        (build_fcn16s, 134_815_994, "190.28"),
        (build_fcn8s, 134_489_759, "190.37"),
    ],
)
def test_parameters_and_cost(build: Callable[..., FCN], parameters: int, gmacs: str) -> None:
    """21 classes: the counts of the authors' networks, and 190.2 to 190.4 GMAC at 512x512 (1 MAC = 2 FLOPs)."""
    with torch.device("meta"):
        model = build(FCNParams(), in_channels=3, num_classes=21).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 512, 512))

    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert f"{counter.get_total_flops() / 2e9:.2f}" == gmacs


@by_stride
def test_parts_of_the_figure(build: Callable[..., FCN], stride: int) -> None:
    """The encoder is VGG16's features, the decoder fc6 and fc7, and whatever has the classes' width is the head."""
    with torch.device("meta"):
        model = build(FCNParams(), in_channels=3, num_classes=21)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}

    skips = {32: 0, 16: 512 * 21 + 21 + 21 * 21 * 4**2, 8: 768 * 21 + 2 * 21 + 2 * 21 * 21 * 4**2}[stride]
    assert counts["encoder"] == 14_714_688
    assert counts["decoder"] == 512 * 4096 * 7**2 + 4096 + 4096**2 + 4096
    assert counts["head"] == 4096 * 21 + 21 + skips + 21 * 21 * (2 * stride) ** 2


@by_stride
@pytest.mark.parametrize("size", [(97, 131), (64, 64), (33, 47), (32, 32), (1, 1)])
def test_logits_have_the_size_of_the_image(build: Callable[..., FCN], stride: int, size: tuple[int, int]) -> None:
    """The crops never run out of scores, down to a single pixel, for any number of channels and classes."""
    for in_channels, num_classes in ((1, 1), (3, 2), (4, 21)):
        with torch.device("meta"):
            model = build(FCNParams(), in_channels=in_channels, num_classes=num_classes)
            assert model(torch.empty(2, in_channels, *size)).shape == (2, num_classes, *size)


@pytest.mark.parametrize("size", [(97, 131), (106, 200), (129, 143)])
@pytest.mark.parametrize(("stride", "summands"), [(32, 1), (16, 2), (8, 3)])
def test_every_score_is_cropped_to_its_place(stride: int, summands: int, size: tuple[int, int]) -> None:
    """Where features hold the position they look at, the logits hold the position of their pixel.

    Interpolation keeps straight lines straight, so a crop that is off by one shows. Positions are computed here from
    the layers: a frame of 100 pixels less the first kernel's border, poolings by 8, 16 and 32, and a 7x7 kernel.
    """
    centres = {}
    for scale in (8, 16, 32):
        rows, columns = (
            torch.arange(-(-(side + 198) // scale), dtype=torch.float64) * scale + (scale - 1) / 2 - 99 for side in size
        )
        centres[scale] = (2 * rows[:, None] - columns)[None, None]
    head = Head(1, stride=stride).double()
    for score in (head.score, *(skip.score for skip in head.skips)):
        nn.init.constant_(score.weight, 1 / score.in_channels)
    unused = torch.empty(0)
    pooled = [unused, unused, *(centres[s].expand(1, c, -1, -1) for s, c in ((8, 256), (16, 512), (32, 512)))]
    fc7 = centres[32][..., 3:-3, 3:-3].expand(1, 4096, -1, -1)

    logits = head(fc7, pooled, size)

    rows, columns = (torch.arange(side, dtype=torch.float64) for side in size)
    inner = (..., slice(40, -40), slice(40, -40))  # nearer to the border, deconvolutions fade
    assert logits.shape == (1, 1, *size)
    torch.testing.assert_close(logits[inner], summands * (2 * rows[:, None] - columns)[None, None][inner])


@pytest.mark.slow
def test_mirrored_image_gives_mirrored_logits(fcn8s: FCN) -> None:
    """With mirrored kernels throughout, nothing prefers a side: padding, poolings and crops are centred.

    A size that makes the padded image a multiple of 32 leaves the poolings nothing to round.
    """
    model = copy.deepcopy(fcn8s).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.weight.add_(layer.weight.flip(2, 3)).mul_(0.5)
    image = torch.randn(1, 3, 26, 58)

    with torch.no_grad():
        logits, mirrored = model(image), model(image.flip(2, 3)).flip(2, 3)

    assert logits.std() > 0.01
    torch.testing.assert_close(mirrored, logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 8, 32])
def test_deconvolution_starts_as_bilinear_interpolation(factor: int) -> None:
    """Channels do not mix, a constant stays constant, and torch interpolates to the same values."""
    deconv = BilinearDeconv(3, factor)
    maps = torch.randn(2, 3, 4, 5)

    enlarged = deconv(maps)

    assert enlarged.shape == (2, 3, factor * 5, factor * 6)
    inner = (..., slice(factor, -factor), slice(factor, -factor))
    expected = F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
    cut = (..., slice(factor // 2, -(factor // 2)), slice(factor // 2, -(factor // 2)))
    torch.testing.assert_close(enlarged[inner], expected[cut])
    torch.testing.assert_close(deconv(torch.ones_like(maps))[inner], torch.ones_like(expected[cut]))


def test_dropout_is_the_parameter() -> None:
    """The builder hands the rate on."""
    with torch.device("meta"):
        model = build_fcn8s(FCNParams(dropout=0.25), in_channels=3, num_classes=2)
    assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [0.25]


def test_starts_with_weights_after_he(fcn8s: FCN) -> None:
    """Features and fully connected layers have weights of variance 2 / fan_in, so that scores are of moderate size."""
    for conv, fan_in in ((fcn8s.encoder.stages[4][0], 512 * 9), (fcn8s.decoder.fc7, 4096)):
        assert conv.weight.var().item() == pytest.approx(2 / fan_in, rel=0.02)
        assert not conv.bias.any()
    with torch.no_grad():
        logits: Tensor = fcn8s.eval()(torch.randn(1, 3, 32, 32))
    assert 0.05 < logits.std().item() < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"num_classes": 2, "in_channels": -1}, "in_channels must be at least 1, got -1"),
        ({"num_classes": 2, "stride": 4}, "stride must be 32, 16 or 8, got 4"),
    ],
)
def test_refuses_what_makes_no_network(arguments: dict[str, int], message: str) -> None:
    """Used on its own, the class names the value that is wrong."""
    with pytest.raises(ValueError, match=message):
        FCN(**arguments)
