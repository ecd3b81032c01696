"""The architectures of smp behind segzoo's contract: every size, no dead part, no parameter that does nothing."""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import segzoo
from segzoo.catalog import smp as catalog
from segzoo.catalog.smp_specs import SPECS
from segzoo.nn.attention import SqueezeExcitation
from segzoo.nn.encoder_decoder import AttendedDecoder, Dropped, EncoderDecoder
from segzoo.spec import ModelSpec

FAMILIES = [spec for spec in SPECS if spec.name.startswith("smp_")]
PRESETS = [spec for spec in SPECS if spec.fixed]
SMALL_VIT = "tu-test_vit"

by_family = pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.name)


def build(spec: ModelSpec, *, in_channels: int = 3, num_classes: int = 3, **params: object) -> EncoderDecoder:
    """Build a model of the catalog from its parameters."""
    module, _, function = spec.builder.partition(":")
    builder = getattr(importlib.import_module(module), function)
    return builder(spec.params(**spec.fixed | params), in_channels=in_channels, num_classes=num_classes)


def on_meta(spec: ModelSpec, *, num_classes: int = 3, **params: object) -> EncoderDecoder:
    """Build a model without storage; mit_b0 computes while it is built, so it comes from the CPU."""
    if "mit" in str(params.get("encoder", spec.params.model_fields["encoder"].default)):
        return build(spec, num_classes=num_classes, **params).to("meta")
    with torch.device("meta"):
        return build(spec, num_classes=num_classes, **params)


def family(name: str) -> ModelSpec:
    """Return a family by its name."""
    return next(spec for spec in SPECS if spec.name == name)


def small(spec: ModelSpec) -> dict[str, object]:
    """Return parameters that keep a family small."""
    return {"encoder": SMALL_VIT} if spec.name == "smp_dpt" else {"encoder": "resnet18"}


def image(spec: ModelSpec, height: int, width: int, *, batch: int = 2, device: str = "meta") -> Tensor:
    """Return images of at least the smallest size that a model takes."""
    least = spec.input.min_size
    return torch.rand(batch, 3, max(height, least), max(width, least), device=device)


def parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def without_gradient(model: nn.Module, images: Tensor) -> list[str]:
    """Return the names of the parameters that get no gradient from the logits."""
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(model(images).sum(), list(named.values()), allow_unused=True)
    return [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]


def fingerprint(model: nn.Module) -> str:
    """Return what can be seen of a network without its weights: layers, their settings, plain attributes."""
    plain = (int, float, str, tuple, list)
    return repr(model) + repr(
        [
            (name, key, value)
            for name, module in model.named_modules()
            for key, value in vars(module).items()
            if isinstance(value, plain)
        ]
    )


@pytest.mark.parametrize(
    ("name", "encoder", "count", "gmacs"),
    [
        ("smp_unet", "resnet34", 24_439_269, "32.0109"),
        ("smp_deeplabv3plus", "mobilenet_v2", 4_383_653, "6.0095"),
        ("smp_fpn", "resnet18", 13_049_813, "17.7985"),
        ("smp_segformer", "mit_b0", 3_719_541, "7.8468"),
    ],
)
def test_parameters_and_cost(name: str, encoder: str, count: int, gmacs: str) -> None:
    """21 classes at 512x512; one multiply-accumulate is two operations. Padding adds nothing to multiples of 32."""
    model = on_meta(family(name), num_classes=21, encoder=encoder).eval()

    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 512, 512, device="meta"))

    assert parameters(model) == count
    assert f"{counter.get_total_flops() / 2e9:.4f}" == gmacs


@pytest.mark.slow
@pytest.mark.parametrize("spec", PRESETS, ids=lambda spec: spec.name)
def test_every_preset_builds_and_runs(spec: ModelSpec) -> None:
    """On the CPU, at an odd, non-square size: finite logits of that size, twice the same."""
    model = build(spec).eval()
    images = image(spec, 97, 131, batch=1, device="cpu")

    with torch.no_grad():
        logits = model(images)

    assert logits.shape == (1, 3, *images.shape[-2:])
    assert logits.isfinite().all()
    assert torch.equal(logits, model(images))


@by_family
def test_any_size_from_the_smallest_on(spec: ModelSpec) -> None:
    """Logits have the image's size, in training with two images as in evaluation with one."""
    model = on_meta(spec, **small(spec))
    for size in ((32, 32), (33, 47), (97, 131), (50, 200)):
        images = image(spec, *size)
        assert model.train()(images).shape == (2, 3, *images.shape[-2:])
        assert model.eval()(images[:1]).shape == (1, 3, *images.shape[-2:])


@pytest.mark.slow
@by_family
@pytest.mark.parametrize("depth", [3, 4])
def test_any_size_with_a_shallower_encoder(spec: ModelSpec, depth: int) -> None:
    """Fewer stages change neither the size of the logits nor that every parameter counts."""
    params: dict[str, Any] = small(spec) | {"encoder_depth": depth}
    for name in {"decoder_channels", "decoder_intermediate_channels"} & spec.params.model_fields.keys():
        default = spec.params.model_fields[name].default
        params |= {name: default[:depth]} if isinstance(default, tuple) else {}
    model = on_meta(spec, **params)
    images = image(spec, 97, 131)

    assert model(images).shape == (2, 3, *images.shape[-2:])
    assert without_gradient(model, images) == []


@by_family
def test_images_of_four_channels(spec: ModelSpec) -> None:
    """The first layer follows; one class is enough for users with a loss of their own."""
    with torch.device("meta"):
        model = build(spec, in_channels=4, num_classes=1, **small(spec))
    size = spec.input.min_size

    assert model(torch.empty(2, 4, size, size, device="meta")).shape == (2, 1, size, size)


@pytest.mark.slow
@by_family
def test_no_parameter_is_dead(spec: ModelSpec) -> None:
    """The logits depend on every parameter, with smp's attention in the decoder too."""
    attentions: tuple[str, ...] = spec.params.attentions  # type: ignore[attr-defined]
    for attention in (None, *attentions):
        model = on_meta(spec, attention=attention, **small(spec))
        assert without_gradient(model, image(spec, 64, 64)) == []


@by_family
def test_logits_are_those_of_smp(spec: ModelSpec) -> None:
    """At a size that smp takes, what the adapter adds and drops changes no bit."""
    torch.manual_seed(0)
    ours = build(spec, **small(spec)).eval()
    torch.manual_seed(0)
    theirs = smp_model(spec).eval()
    images = image(spec, 64, 96, batch=1, device="cpu")

    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def smp_model(spec: ModelSpec) -> nn.Module:
    """Build smp's own model of a family, as its users do."""
    params: dict[str, Any] = spec.params(**small(spec)).model_dump(exclude={"encoder", "attention"})
    if spec.name == "smp_dpt":
        params["dynamic_img_size"] = True
    architecture = getattr(segmentation_models_pytorch, CLASSES[spec.name])
    model: nn.Module = architecture(small(spec)["encoder"], encoder_weights=None, classes=3, **params)
    return model


CLASSES = {
    "smp_unet": "Unet",
    "smp_unetplusplus": "UnetPlusPlus",
    "smp_manet": "MAnet",
    "smp_linknet": "Linknet",
    "smp_fpn": "FPN",
    "smp_pspnet": "PSPNet",
    "smp_deeplabv3": "DeepLabV3",
    "smp_deeplabv3plus": "DeepLabV3Plus",
    "smp_pan": "PAN",
    "smp_upernet": "UPerNet",
    "smp_segformer": "Segformer",
    "smp_dpt": "DPT",
}


@by_family
def test_images_are_padded_with_zeros_at_the_bottom_and_the_right(spec: ModelSpec) -> None:
    """The logits of an odd size are those of the padded image, cropped; Unet alone does without."""
    model = build(spec, **small(spec)).eval()
    least = spec.input.min_size
    images = torch.rand(1, 3, least + 3, least + 5)
    side = -(-(least + 5) // model.multiple) * model.multiple
    padded = torch.zeros(1, 3, side, side)
    padded[..., : least + 3, : least + 5] = images

    with torch.no_grad():
        logits, expected = model(images), model(padded)[..., : least + 3, : least + 5]

    assert (model.multiple == 1) == (spec.name == "smp_unet")
    assert torch.equal(logits, expected) == (spec.name != "smp_unet")


class Asked(Exception):  # noqa: N818 - it ends a call, nothing is wrong
    """What a builder passes to smp."""


@by_family
def test_smp_knows_every_argument(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Smp swallows unknown keywords, so each one that is passed must stand in its signature."""
    architecture = getattr(segmentation_models_pytorch, CLASSES[spec.name])

    def record(**arguments: object) -> None:
        raise Asked(arguments)

    monkeypatch.setattr(segmentation_models_pytorch, CLASSES[spec.name], record)
    with pytest.raises(Asked) as asked:
        build(spec, **small(spec))

    passed = set(asked.value.args[0])
    known = set(inspect.signature(architecture).parameters) - {"kwargs"}
    assert passed - known == ({"dynamic_img_size"} if spec.name == "smp_dpt" else set())
    assert spec.params.model_fields.keys() - {"encoder", "attention"} <= passed


CHANGES: dict[str, dict[str, dict[str, object]]] = {
    "smp_unet": {
        "encoder_depth": {"encoder_depth": 4, "decoder_channels": (256, 128, 64, 32)},
        "decoder_channels": {"decoder_channels": (64, 32, 16, 8, 4)},
    },
    "smp_deeplabv3": {"encoder_output_stride": {"encoder_output_stride": 16}},
    "smp_deeplabv3plus": {"decoder_aspp_separable": {"decoder_aspp_separable": False}},
    "smp_pan": {"encoder_output_stride": {"encoder_output_stride": 32}, "decoder_channels": {"decoder_channels": 16}},
    "smp_upernet": {"decoder_channels": {"decoder_channels": 16}},
    "smp_pspnet": {"encoder_depth": {"encoder_depth": 4}},
    "smp_dpt": {
        "encoder": {"encoder": "tu-vit_tiny_patch16_224"},
        "encoder_depth": {"encoder_depth": 3, "decoder_intermediate_channels": (256, 512, 1024)},
        "encoder_output_indices": {"encoder_output_indices": (0, 1, 2, 3)},
        "decoder_readout": {"decoder_readout": "add"},
        "decoder_intermediate_channels": {"decoder_intermediate_channels": (8, 8, 8, 8)},
        "decoder_fusion_channels": {"decoder_fusion_channels": 8},
    },
}
"""Other values than the defaults, where those for all families do not serve."""

CHANGES_FOR_ALL: dict[str, dict[str, object]] = {
    "encoder": {"encoder": "mobilenet_v2"},
    "attention": {"attention": "se"},
    "encoder_depth": {"encoder_depth": 4},
    "encoder_output_stride": {"encoder_output_stride": 8},
    "decoder_channels": {"decoder_channels": 32},
    "decoder_use_norm": {"decoder_use_norm": "identity"},
    "decoder_interpolation": {"decoder_interpolation": "bicubic"},
    "decoder_pab_channels": {"decoder_pab_channels": 8},
    "decoder_pyramid_channels": {"decoder_pyramid_channels": 64},
    "decoder_segmentation_channels": {"decoder_segmentation_channels": 64},
    "decoder_merge_policy": {"decoder_merge_policy": "cat"},
    "decoder_dropout": {"decoder_dropout": 0.5},
    "psp_out_channels": {"psp_out_channels": 64},
    "psp_dropout": {"psp_dropout": 0.5},
    "decoder_atrous_rates": {"decoder_atrous_rates": (2, 4, 6)},
    "decoder_aspp_separable": {"decoder_aspp_separable": True},
    "decoder_aspp_dropout": {"decoder_aspp_dropout": 0.1},
}


@cache
def fingerprint_of_defaults(name: str) -> str:
    """Return the fingerprint of a family's small network."""
    return fingerprint(on_meta(family(name), **small(family(name))))


PARAMETERS = [(spec, name) for spec in FAMILIES for name in spec.params.model_fields]


@pytest.mark.parametrize(("spec", "name"), PARAMETERS, ids=lambda value: getattr(value, "name", value))
def test_every_parameter_acts(spec: ModelSpec, name: str) -> None:
    """Another value makes another network, which gives logits of the image's size too."""
    shared = "smp_unet" if issubclass(spec.params, catalog.BlockParams) else spec.name
    change = CHANGES.get(shared, {}).get(name) or CHANGES_FOR_ALL[name]

    changed = on_meta(spec, **small(spec) | change)

    assert fingerprint(changed) != fingerprint_of_defaults(spec.name)
    assert changed(torch.empty(2, 3, 257, 261, device="meta")).shape == (2, 3, 257, 261)


def test_scse_is_the_decoder_attention_of_smp() -> None:
    """``scse`` puts smp's own attention into the decoder, which has none otherwise."""

    def layers(model: EncoderDecoder) -> set[str]:
        return {type(module).__name__ for module in model.decoder.modules()}

    unet = family("smp_unet")
    assert "SCSEModule" in layers(on_meta(unet, attention="scse"))
    assert "SCSEModule" not in layers(on_meta(unet))


@pytest.mark.parametrize(
    ("name", "params", "dropped"),
    [
        ("smp_unet", {"encoder": "resnet18", "attention": "scse"}, "decoder.blocks.4.attention1."),
        ("smp_unetplusplus", {"encoder": "resnet18", "attention": "scse"}, "decoder.blocks.x_0_4.attention1."),
        ("smp_unetplusplus", {"encoder": "vgg11"}, "decoder.center."),
    ],
)
def test_parts_of_a_decoder_that_smp_never_calls_are_dropped(
    name: str, params: dict[str, object], dropped: str
) -> None:
    """The last block has no skip connection and leaves its first attention out; Unet++ forgets its centre for VGG."""
    model = on_meta(family(name), **params)

    assert model.dropped == (dropped,)
    assert without_gradient(model, torch.empty(2, 3, 64, 64, device="meta")) == []


@by_family
def test_squeeze_and_excitation_is_a_part_of_the_decoder(spec: ModelSpec) -> None:
    """``se`` adds one block on the deepest feature; freezing the encoder does not reach it."""
    plain, attended = on_meta(spec, **small(spec)), on_meta(spec, attention="se", **small(spec))

    assert isinstance(attended.decoder, AttendedDecoder)
    assert isinstance(attended.decoder.attention, SqueezeExcitation)
    assert parameters(attended.encoder) == parameters(plain.encoder)
    assert parameters(attended) - parameters(plain) == parameters(attended.decoder.attention)


@pytest.mark.parametrize("name", ["smp_unet", "smp_dpt"])
def test_squeeze_and_excitation_weighs_the_deepest_feature_only(name: str) -> None:
    """The decoder behind the block sees the deepest map weighted and all others as they came."""
    seen: list[list[Tensor]] = []
    model = build(family(name), attention="se", **small(family(name))).eval()
    model.decoder.decoder.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    images = torch.rand(1, 3, 64, 64)

    with torch.no_grad():
        model(images)
        features = model.encoder(images)
        *shallow, deepest = features[0] if isinstance(features, tuple) else features

        assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen[0][:-1], shallow, strict=True))
        assert torch.equal(seen[0][-1], model.decoder.attention(deepest))


def test_pspnet_drops_the_stages_that_it_never_reads() -> None:
    """Two of resnet18's four stages, 10.5 million parameters, with their buffers; nothing is left of them."""
    model = on_meta(family("smp_pspnet"), num_classes=21, encoder="resnet18")
    whole = segmentation_models_pytorch.PSPNet("resnet18", encoder_weights=None, classes=21)

    assert model.dropped == ("encoder.layer3.", "encoder.layer4.")
    assert parameters(model) == 928_565
    assert parameters(whole) == 928_565 + 10_493_440
    assert model.state_dict().keys() == {name for name in head_renamed(whole) if not name.startswith(model.dropped)}
    assert isinstance(model.encoder.layer4, Dropped)


def head_renamed(whole: nn.Module) -> set[str]:
    """Return the names of a model of smp's tensors as ours has them."""
    return {name.replace("segmentation_head.", "head.") for name in whole.state_dict()}


@pytest.mark.parametrize(
    ("name", "encoder", "dropped"),
    [
        ("smp_unet", "resnet34", ()),
        ("smp_unet", "efficientnet-b0", ("encoder._conv_head.", "encoder._bn1.")),
        ("smp_dpt", SMALL_VIT, ("encoder.model.norm.", "encoder.model.head.")),
    ],
)
def test_dropped_parts_are_listed(name: str, encoder: str, dropped: tuple[str, ...]) -> None:
    """Weights that are loaded may name them."""
    assert on_meta(family(name), encoder=encoder).dropped == dropped


def test_vision_transformer_ends_with_the_last_block_that_is_read() -> None:
    """Blocks behind it are dropped."""
    spec = family("smp_dpt")
    model = on_meta(spec, encoder=SMALL_VIT, encoder_output_indices=(0, 1, 2, 3))

    assert {"encoder.model.blocks.4.", "encoder.model.blocks.5."} <= set(model.dropped)
    assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 3, 64, 64)


@by_family
def test_refuses_no_classes(spec: ModelSpec) -> None:
    """Smp would build a network without output; our message names the value."""
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        build(spec, num_classes=0)


def test_only_this_file_imports_smp() -> None:
    """No other source file names the library in an import."""
    root = Path(segzoo.__file__).parent
    importing = [
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if "import segmentation_models_pytorch" in path.read_text()
        or "from segmentation_models_pytorch" in path.read_text()
    ]

    assert importing == ["smp.py"]
