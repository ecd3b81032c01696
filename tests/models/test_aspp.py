"""The ASPP heads are those of their papers, on encoders of which no stage is left out."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segzoo.catalog.aspp import ASPPParams
from segzoo.models.aspp import DeepLab, build_aspp, build_aspp_plus
from segzoo.nn.attention import SqueezeExcitation
from segzoo.nn.encoder_decoder import AttendedDecoder
from segzoo.smp import build_encoder

ENCODERS = get_args(ASPPParams.model_fields["encoder"].annotation)
Build = Callable[..., DeepLab]

every_encoder = pytest.mark.parametrize("encoder", ENCODERS)
every_head = pytest.mark.parametrize("build", [build_aspp, build_aspp_plus])


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def small(build: Build, encoder: str = "mobilenet_v2", *, in_channels: int = 3, **params: object) -> DeepLab:
    """Build a model with 21 classes."""
    return build(ASPPParams(encoder=encoder, **params), in_channels=in_channels, num_classes=21)


@pytest.mark.parametrize(
    ("build", "encoder", "gmacs", "gmacs_at_stride_8"),
    [
        (build_aspp, "resnet18", "20.017", "64.526"),
        (build_aspp, "resnet34", "33.304", "106.805"),
        (build_aspp, "mobilenet_v2", "12.536", "48.294"),
        (build_aspp_plus, "resnet18", "19.374", "54.246"),
        (build_aspp_plus, "resnet34", "32.661", "96.524"),
        (build_aspp_plus, "mobilenet_v2", "7.051", "18.739"),
    ],
)
def test_parameters_and_cost(build: Build, encoder: str, gmacs: str, gmacs_at_stride_8: str) -> None:
    """The heads have the layers of their papers, whatever the stride; only the cost at 512x512 depends on it."""
    for output_stride, expected in [(16, gmacs), (8, gmacs_at_stride_8)]:
        with torch.device("meta"):
            model = small(build, encoder, output_stride=output_stride).eval()
            with FlopCounterMode(display=False) as counter:
                model(torch.empty(1, 3, 512, 512))
            early, deepest = (model.encoder.out_channels[place] for place in (2, -1))

        assert f"{counter.get_total_flops() / 2e9:.3f}" == expected
        assert count(model) - count(model.encoder) == head_parameters(build, early, deepest)


def head_parameters(build: Build, early: int, deepest: int) -> int:
    """Return the parameters of decoder and classifier, worked out from the papers."""
    common = 2 * deepest * 256 + 5 * 256 * 256 + 6 * 512 + 256 * 21 + 21
    if build is build_aspp:
        return common + 3 * 9 * deepest * 256
    refine = 9 * 304 + 304 * 256 + 512 + 9 * 256 + 256 * 256 + 512
    return common + 3 * (9 * deepest + deepest * 256) + early * 48 + 2 * 48 + refine


def test_plus_on_mobilenet_v2_is_as_large_as_in_smp() -> None:
    """4,383,653 parameters at 21 classes; smp has the same layers, one of them in another place."""
    with torch.device("meta"):
        assert count(small(build_aspp_plus)) == 4_383_653


@every_head
@pytest.mark.parametrize("output_stride", [8, 16])
def test_any_size_at_both_strides_and_with_attention(build: Build, output_stride: int) -> None:
    """Logits have the image's size, odd or not."""
    with torch.device("meta"):
        model = small(build, "resnet18", in_channels=4, output_stride=output_stride, attention="se").eval()
        for size in [(32, 32), (97, 131)]:
            assert model(torch.empty(1, 4, *size)).shape == (1, 21, *size)


@every_head
def test_gradient_reaches_every_parameter(build: Build) -> None:
    """No stage of the encoder is dead, and the attention is trained, too."""
    torch.manual_seed(0)
    model = small(build, "resnet18", attention="se")

    model(torch.rand(2, 3, 64, 64)).square().mean().backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.ndim == 1 or parameter.grad.any(), name


@pytest.mark.parametrize(
    ("params", "rates"),
    [
        ({}, [6, 12, 18]),
        ({"output_stride": 8}, [12, 24, 36]),
        ({"output_stride": 8, "atrous_rates": (3, 6, 9)}, [3, 6, 9]),
    ],
)
@every_head
def test_rates_are_doubled_at_stride_8_unless_given(build: Build, params: dict[str, object], rates: list[int]) -> None:
    """The pyramid looks as far at either stride, as in the paper."""
    with torch.device("meta"):
        model = small(build, **params)
    found = [layer.dilation[0] for layer in model.decoder.aspp.atrous.modules() if isinstance(layer, nn.Conv2d)]

    assert [rate for rate in found if rate > 1] == rates


@pytest.mark.parametrize("output_stride", [8, 16])
@every_encoder
def test_encoder_dilates_instead_of_striding(encoder: str, output_stride: int) -> None:
    """The deepest features have the stride asked for; the early ones are at a quarter of the image's size."""
    with torch.device("meta"):
        features = small(build_aspp, encoder, output_stride=output_stride).encoder(torch.empty(1, 3, 128, 160))

    assert features[2].shape[-2:] == (32, 40)
    assert features[-1].shape[-2:] == (128 // output_stride, 160 // output_stride)


def test_plus_joins_the_features_at_a_quarter_of_the_size() -> None:
    """Decoded features have the size of the early ones, and change with them alone."""
    torch.manual_seed(0)
    model = small(build_aspp_plus).eval()
    features: list[Tensor] = model.encoder(torch.rand(1, 3, 64, 96))
    changed = [*features[:2], features[2] + 1, *features[3:]]

    assert model.decoder(features).shape == (1, 256, 16, 24)
    assert not torch.equal(model.decoder(features), model.decoder(changed))


@every_head
def test_squeeze_and_excitation_is_a_part_of_the_decoder(build: Build) -> None:
    """``se`` adds one block on the deepest feature; freezing the encoder does not reach it."""
    with torch.device("meta"):
        plain, attended = small(build, "resnet18"), small(build, "resnet18", attention="se")

        assert isinstance(attended.decoder, AttendedDecoder)
        assert count(attended) - count(plain) == count(SqueezeExcitation(512)) == 33_312
        assert count(attended.encoder) == count(plain.encoder)


@every_encoder
def test_encoder_has_the_tensors_of_the_pretrained_one(encoder: str) -> None:
    """Dilating changes no tensor's name or shape, so weights for stride 32 fit."""
    with torch.device("meta"):
        ours = small(build_aspp, encoder, output_stride=8).encoder.state_dict()
        plain = build_encoder(encoder, in_channels=3).state_dict()

    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in plain.items()
    }


@every_head
def test_refuses_to_train_on_one_image(build: Build) -> None:
    """The message names the layer and how many images there were; evaluation works."""
    with torch.device("meta"):
        model = small(build)

        with pytest.raises(ValueError, match="image pooling of ASPP trains on batches of at least 2 images, got 1"):
            model(torch.empty(1, 3, 64, 64))
        assert model.eval()(torch.empty(1, 3, 64, 64)).shape == (1, 21, 64, 64)


@every_head
def test_dropout_is_the_parameter(build: Build) -> None:
    """One dropout lies behind the pyramid, at the rate asked for."""
    with torch.device("meta"):
        model = small(build, dropout=0.25)

    assert [layer.p for layer in model.decoder.modules() if isinstance(layer, nn.Dropout)] == [0.25]


@every_head
def test_refuses_no_classes(build: Build) -> None:
    """Used on their own, the builders name the value that is wrong."""
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        build(ASPPParams(encoder="resnet18"), in_channels=3, num_classes=0)
