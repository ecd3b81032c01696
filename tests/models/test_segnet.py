"""SegNet has the paper's size and unpools to exact sizes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segzoo.catalog.scratch import SegNetPetsParams
from segzoo.catalog.vgg import SegNetParams
from segzoo.models.segnet import SegNet, build_segnet, build_segnet_pets, build_segnet_pets_separable
from segzoo.spec import Params


def count(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_and_cost_of_the_paper() -> None:
    """12 classes: 29,449,932 parameters and 141.85 GMAC at 360x640 (1 MAC = 2 FLOPs)."""
    with torch.device("meta"):
        model = build_segnet(SegNetParams(), in_channels=3, num_classes=12).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 360, 640))

    assert count(model) == 29_449_932
    assert f"{counter.get_total_flops() / 2e9:.2f}" == "141.85"


def test_conv_bias_is_only_beside_batch_norm() -> None:
    """Without ``conv_bias`` the 25 convolutions before batch norm lose theirs; the head keeps its own."""
    with torch.device("meta"):
        model = build_segnet(SegNetParams(conv_bias=False), in_channels=3, num_classes=12)
    biased = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.bias is not None]

    assert biased == [model.head]
    assert count(model) == 29_449_932 - 7_936


def test_parameters_of_the_pets_variant() -> None:
    """3 classes: 15,274,892 parameters, four poolings, a batch norm first, a ReLU last."""
    with torch.device("meta"):
        model = build_segnet_pets(SegNetPetsParams(), in_channels=3, num_classes=3)

    assert count(model) == 15_274_892
    assert len(model.encoder.stages) == len(model.decoder.stages) == 4
    assert isinstance(next(layer for layer in model.modules() if not list(layer.children())), nn.BatchNorm2d)
    assert isinstance(model.head[-1], nn.ReLU)


def test_parameters_of_the_separable_pets_variant() -> None:
    """3 classes: 1,749,671 parameters; no kernel but the depthwise ones is larger than a pixel."""
    with torch.device("meta"):
        model = build_segnet_pets_separable(SegNetPetsParams(), in_channels=3, num_classes=3)
        plain = build_segnet_pets(SegNetPetsParams(), in_channels=3, num_classes=3)
    depthwise = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    dense = [layer for layer in plain.modules() if isinstance(layer, nn.Conv2d)]

    assert count(model) == 1_749_671
    assert all(layer.groups == layer.in_channels for layer in depthwise)
    assert [layer.in_channels for layer in depthwise] == [layer.in_channels for layer in dense]


def test_separable_pets_variant_needs_a_fraction_of_the_multiplications() -> None:
    """At 128x128 pixels: 9.116 GMAC plain, 1.078 separable."""
    gmacs = []
    with torch.device("meta"):
        for build in (build_segnet_pets, build_segnet_pets_separable):
            model = build(SegNetPetsParams(), in_channels=3, num_classes=3).eval()
            with FlopCounterMode(display=False) as counter:
                model(torch.empty(1, 3, 128, 128))
            gmacs.append(f"{counter.get_total_flops() / 2e9:.3f}")

    assert gmacs == ["9.116", "1.078"]


def test_pets_logits_are_not_negative() -> None:
    """The article's network ends in a ReLU, so no logit is below zero."""
    model = build_segnet_pets(SegNetPetsParams(), in_channels=3, num_classes=3).eval()

    logits = model(torch.rand(1, 3, 16, 16))

    assert logits.min() >= 0


def test_decoder_unpools_with_the_indices_of_its_own_level() -> None:
    """With the convolutions taken out, every kept value lies where it was in the image, and all others are zero."""

    class Same(nn.Identity):
        pass

    model = build_segnet(SegNetParams(), in_channels=3, num_classes=2)
    bare = SegNet(type(model.encoder)(Same() for _ in range(3)), type(model.decoder)(Same() for _ in range(3)), Same())
    image = torch.rand(2, 3, 45, 51) + 1

    restored = bare(image)

    kept = restored != 0
    assert restored.shape == image.shape
    assert torch.equal(restored[kept], image[kept])
    assert kept.sum() == 2 * 3 * (45 // 8) * (51 // 8)


def test_unpooled_sizes_are_those_before_pooling() -> None:
    """Nothing is padded: each decoder stage works at the very size its encoder stage had."""
    model = build_segnet(SegNetParams(), in_channels=3, num_classes=2).eval()
    sizes: dict[str, list[tuple[int, ...]]] = {"encoder": [], "decoder": []}
    for part, found in sizes.items():
        for stage in getattr(model, part).stages:
            stage.register_forward_hook(lambda _stage, _args, out, found=found: found.append(tuple(out.shape[-2:])))

    model(torch.rand(1, 3, 37, 59))

    assert sizes["encoder"] == [(37, 59), (18, 29), (9, 14), (4, 7), (2, 3)]
    assert sizes["decoder"] == sizes["encoder"][::-1]


def test_starts_with_weights_after_he() -> None:
    """The deepest of VGG16's convolutions has weights of variance 2 / (512 * 9) and no bias."""
    model = build_segnet(SegNetParams(), in_channels=3, num_classes=2)
    conv = model.encoder.stages[4][0][0]

    assert conv.weight.var().item() == pytest.approx(2 / (512 * 9), rel=0.02)
    assert not conv.bias.any()


@pytest.mark.parametrize(
    ("build", "params"),
    [
        (build_segnet, SegNetParams()),
        (build_segnet_pets, SegNetPetsParams()),
        (build_segnet_pets_separable, SegNetPetsParams()),
    ],
)
def test_refuses_no_classes(build: Callable[..., SegNet], params: Params) -> None:
    """Used on their own, the builders name the value that is wrong."""
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        build(params, in_channels=3, num_classes=0)


def test_activations_keep_their_scale() -> None:
    """He's initialisation and batch norm leave logits neither vanishing nor exploding at the start."""
    torch.manual_seed(0)
    model = build_segnet(SegNetParams(), in_channels=3, num_classes=4)

    logits: Tensor = model(torch.randn(2, 3, 64, 64))

    assert 0.1 < logits.std().item() < 10
