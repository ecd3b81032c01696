"""The Unet of smp behind segzoo's contract."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import segzoo
from segzoo.catalog.smp import Attention, UnetParams
from segzoo.nn.attention import SqueezeExcitation
from segzoo.smp import AttendedDecoder, EncoderDecoder, build_unet


def unet(encoder: str = "resnet18", attention: Attention | None = None, *, in_channels: int = 3) -> EncoderDecoder:
    """Build a Unet with 21 classes."""
    return build_unet(UnetParams(encoder=encoder, attention=attention), in_channels=in_channels, num_classes=21)


def parameters(model: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_and_cost_of_unet_resnet34() -> None:
    """21 classes: 24,439,269 parameters and 32.011 GMAC at 512x512 (1 MAC = 2 FLOPs)."""
    with torch.device("meta"):
        model = unet("resnet34").eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 512, 512))

    assert parameters(model) == 24_439_269
    assert f"{counter.get_total_flops() / 2e9:.3f}" == "32.011"


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (97, 131), (50, 200)])
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2"])
def test_any_size_from_32_pixels(encoder: str, size: tuple[int, int]) -> None:
    """Logits have the image's size, odd or not, without padding."""
    assert unet(encoder).eval()(torch.rand(1, 3, *size)).shape == (1, 21, *size)


def test_squeeze_and_excitation_is_a_part_of_the_decoder() -> None:
    """``se`` adds one block on the deepest feature; freezing the encoder does not reach it."""
    plain, attended = unet(), unet(attention="se")

    assert parameters(attended) - parameters(plain) == parameters(SqueezeExcitation(512)) == 33_312
    assert parameters(attended.encoder) == parameters(plain.encoder)
    assert isinstance(attended.decoder, AttendedDecoder)


def test_squeeze_and_excitation_weighs_the_deepest_feature_only() -> None:
    """The decoder behind the block sees the deepest map weighted and all others as they came."""
    seen: list[list[torch.Tensor]] = []
    model = unet(attention="se").eval()
    model.decoder.decoder.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    image = torch.rand(1, 3, 64, 64)

    model(image)
    features = model.encoder(image)

    assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen[0][:-1], features[:-1], strict=True))
    assert torch.equal(seen[0][-1], model.decoder.attention(features[-1]))


def test_scse_is_the_decoder_attention_of_smp() -> None:
    """``scse`` puts smp's own attention into the decoder, which has none otherwise."""

    def layers(model: EncoderDecoder) -> set[str]:
        return {type(module).__name__ for module in model.decoder.modules()}

    assert "SCSEModule" in layers(unet(attention="scse"))
    assert "SCSEModule" not in layers(unet())


def test_decoder_channels_reach_smp() -> None:
    """A narrower decoder is narrower down to the head."""
    params = UnetParams(encoder="resnet18", decoder_channels=(64, 32, 16, 8, 4))

    model = build_unet(params, in_channels=3, num_classes=2)

    assert model.head[0].in_channels == 4


def test_refuses_no_classes() -> None:
    """The library would build a network without output; our message names the value."""
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        build_unet(UnetParams(encoder="resnet18"), in_channels=3, num_classes=0)


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
