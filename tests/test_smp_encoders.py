"""Encoders of smp and timm, and timm's weights for them."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import segmentation_models_pytorch
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segzoo import create_model
from segzoo.catalog.smp_specs import SPECS
from segzoo.errors import UsageFault
from segzoo.smp import build_encoder, timm_tensors
from segzoo.spec import ModelSpec

FAMILIES = [spec for spec in SPECS if spec.name.startswith("smp_")]


def without_gradient(model: nn.Module, images: Tensor) -> list[str]:
    """Return the names of the parameters that get no gradient from the logits."""
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(model(images).sum(), list(named.values()), allow_unused=True)
    return [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]


@pytest.mark.parametrize("encoder", ["timm-efficientnet-b0", "timm-skresnet18"])
def test_encoders_of_old_names_build_without_a_warning(encoder: str) -> None:
    """Smp advises against names that begin with ``timm-``, which is no news for whoever reads a recipe."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with torch.device("meta"):
            create_model("smp_unet", num_classes=3, encoder=encoder)
            build_encoder(encoder, in_channels=3)
    assert caught == []


@pytest.mark.parametrize("encoder", ["tu-resnet18", "tu-convnext_atto", "tu-test_resnet.r160_in1k"])
def test_models_of_timm_are_encoders(encoder: str) -> None:
    """A convolutional network, one that begins at a quarter of the size, and one with a pretrained tag."""
    model = create_model("smp_unet", num_classes=3, encoder=encoder).eval()

    assert model(torch.rand(1, 3, 33, 47)).shape == (1, 3, 33, 47)
    assert without_gradient(model.to("meta"), torch.empty(2, 3, 64, 64, device="meta")) == []


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_weights_of_timm_reach_the_encoder(tmp_path: Path, name: str) -> None:
    """Timm's classification model, saved to a file, comes back under the encoder's names; the classifier stays out.

    An encoder on convnext_atto does not have the names of the file.
    """
    whole = timm.create_model(name).eval()
    file = tmp_path / "model.safetensors"
    save_file(whole.state_dict(), file)
    encoder = build_encoder(f"tu-{name}", in_channels=3).eval()
    images = torch.rand(1, 3, 64, 96)

    encoder.load_state_dict(timm_tensors(encoder, file))

    with torch.no_grad():
        assert torch.equal(encoder(images)[-1], whole.forward_features(images))


def test_weights_of_timm_are_those_for_rgb_and_of_the_whole_encoder(tmp_path: Path) -> None:
    """Whoever loads them adapts the first layer, and leaves out what the model has dropped."""
    whole = timm.create_model("resnet18")
    file = tmp_path / "model.safetensors"
    save_file(whole.state_dict(), file)
    model = create_model("smp_pspnet", num_classes=3, encoder="tu-resnet18", encoder_depth=4, in_channels=1)

    tensors = timm_tensors(model.encoder, file)

    assert tensors["model.conv1.weight"].shape == (64, 3, 7, 7)
    assert model.encoder.state_dict().keys() <= tensors.keys()


def test_weights_of_a_vision_transformer_reach_the_encoder(tmp_path: Path) -> None:
    """The encoder holds timm's whole model, but for what was dropped."""
    whole = timm.create_model("test_vit")
    file = tmp_path / "model.safetensors"
    save_file(whole.state_dict(), file)
    model = create_model("smp_dpt", num_classes=3, encoder="tu-test_vit", in_channels=4)

    tensors = timm_tensors(model.encoder, file)

    assert model.encoder.state_dict().keys() <= tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, whole.state_dict()[name.removeprefix("model.")]), name


@pytest.mark.parametrize("fault", ["missing", "unexpected", "shape"])
def test_file_that_does_not_fit_is_refused(tmp_path: Path, fault: str) -> None:
    """An encoder of timm would keep random values where a tensor is missing; here the file is refused."""
    tensors = dict(timm.create_model("resnet18").state_dict())
    if fault == "missing":
        del tensors["layer1.0.conv1.weight"]
    elif fault == "unexpected":
        tensors["layer9.weight"] = torch.zeros(1)
    else:
        tensors["layer1.0.conv1.weight"] = torch.zeros(64, 64, 1, 1)
    file = tmp_path / "model.safetensors"
    save_file(tensors, file)

    with pytest.raises(UsageFault, match=r"model\.safetensors does not fit timm's resnet18.*layer[19]"):
        timm_tensors(build_encoder("tu-resnet18", in_channels=3), file)


def test_only_safetensors_are_handed_to_timm(tmp_path: Path) -> None:
    """Other formats could run code when they are read."""
    with pytest.raises(ValueError, match=r"from \.safetensors files only, got model\.bin"):
        timm_tensors(build_encoder("tu-resnet18", in_channels=3), tmp_path / "model.bin")


def test_own_encoders_of_smp_have_no_weights_of_timm(tmp_path: Path) -> None:
    """Their files have their own names already."""
    with pytest.raises(ValueError, match="ResNetEncoder is not an encoder of timm"):
        timm_tensors(build_encoder("resnet18", in_channels=3), tmp_path / "model.safetensors")


def works(spec: ModelSpec, encoder: str) -> None:
    """Check the contract of one pair: an odd size, and no dead parameter."""
    try:
        with torch.device("meta"):
            model = create_model(spec.name, num_classes=3, encoder=encoder)
    except RuntimeError:  # a network that computes while it is built
        model = create_model(spec.name, num_classes=3, encoder=encoder).to("meta")
    images = torch.empty(2, 3, max(97, spec.input.min_size), max(131, spec.input.min_size), device="meta")
    assert model(images).shape == (2, 3, *images.shape[-2:]), (spec.name, encoder)
    assert without_gradient(model, images) == [], (spec.name, encoder)


def fits(spec: ModelSpec, encoder: str) -> bool:
    """Say whether the parameters of a family take an encoder."""
    try:
        spec.params(encoder=encoder)
    except ValueError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("spec", [spec for spec in FAMILIES if spec.name != "smp_dpt"], ids=lambda spec: spec.name)
def test_every_encoder_of_smp(spec: ModelSpec) -> None:
    """Each pair that the parameters let pass works; most do."""
    names = [name for name in segmentation_models_pytorch.encoders.get_encoder_names() if fits(spec, name)]
    assert len(names) > 55
    for name in names:
        works(spec, name)


@pytest.mark.slow
@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.name)
def test_every_fortieth_model_of_timm(spec: ModelSpec) -> None:
    """A sample of the pairs that the parameters let pass."""
    names = [name for name in (f"tu-{name}" for name in timm.list_models()[::40]) if fits(spec, name)]
    assert len(names) > 5
    for name in names:
        works(spec, name)
