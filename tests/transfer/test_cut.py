"""Both halves of a model together are the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from segzoo import create_model
from segzoo.errors import UnknownName
from segzoo.transfer import Cut, CutBeforeHead, CutBehindTap

MODELS = ("unet_resnet18", "fpn_resnet18", "fast_scnn", "segnet_pets", "aspp_plus_resnet18", "unet_resnet18_se")
EVEN, ODD = (64, 96), (70, 83)


def build(name: str) -> nn.Module:
    """Return a model of three classes with random weights."""
    torch.manual_seed(0)
    return create_model(name, num_classes=3)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("name", MODELS)
def test_cut_behind_tap_is_whole(name: str, part: str) -> None:
    """Whatever ``forward`` does around the parts is done to the features, too, at any size."""
    cut = CutBehindTap(build(name), part)
    assert all(cut.is_whole(torch.rand(2, 3, *size)) for size in (EVEN, ODD))


@pytest.mark.parametrize("name", ["unet_resnet18", "segnet_pets", "aspp_resnet18"])
def test_cut_before_head_is_whole(name: str) -> None:
    """A model that returns what its head returns can be cut before it."""
    assert CutBeforeHead(build(name)).is_whole(torch.rand(2, 3, *ODD))


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: CutBeforeHead(build("fast_scnn")), EVEN),
        (lambda: CutBeforeHead(build("deeplabv2_aspp")), EVEN),
        (lambda: CutBeforeHead(build("fpn_resnet18")), ODD),
        (lambda: CutBehindTap(build("fcn8s"), "decoder"), EVEN),
    ],
    ids=["enlarges behind the head", "head takes a list", "crops behind the head", "skips into the head"],
)
def test_what_is_not_whole_is_found(make: Callable[[], Cut], size: tuple[int, int]) -> None:
    """A half that lacks something would silently train another model."""
    assert not make().is_whole(torch.rand(1, 3, *size))


def behind_decoder(model: nn.Module) -> Cut:
    """Return the cut that a hook on the decoder makes."""
    return CutBehindTap(model, "decoder")


@pytest.mark.parametrize("make", [CutBeforeHead, behind_decoder])
def test_only_the_second_half_gets_gradients(make: Callable[[nn.Module], Cut]) -> None:
    """Features are detached; both ways give the head the same gradient, to the bit."""
    model = build("unet_resnet18").eval()
    cut = make(model)
    images = torch.rand(2, 3, *EVEN)

    logits = cut.score(cut.extract(images))
    logits.square().mean().backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    model(images).square().mean().backward()

    assert torch.equal(logits, model(images))
    for name, parameter in model.named_parameters():
        if name.startswith("head."):
            assert parameter.grad is not None
            assert torch.equal(found[name], parameter.grad)
        else:
            assert found[name] is None


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_features_may_be_kept_and_taken_apart(part: str) -> None:
    """Rows of the features of a batch are the features of its images."""
    model = build("segnet_pets").eval()
    cut = CutBehindTap(model, part)
    images = torch.rand(3, 3, *EVEN)
    features = cut.extract(images)

    picked = features.filled([tensor[[2, 0]] for tensor in features.tensors])

    assert picked.size == (2, 3, *EVEN)
    assert torch.equal(cut.score(picked), cut.score(features)[[2, 0]])


def test_model_is_as_it_was() -> None:
    """Neither half leaves hooks, stand-ins or another head behind, even when it fails."""
    model = build("unet_resnet18")
    parts = {name: id(module) for name, module in model.named_modules()}
    for cut in (CutBehindTap(model, "decoder"), CutBeforeHead(model)):
        features = cut.extract(torch.rand(2, 3, *EVEN))
        with pytest.raises((RuntimeError, ValueError)):
            cut.score(features.filled([torch.rand(2, 5, 4, 4)]))
        with pytest.raises((RuntimeError, ValueError)):
            cut.extract(torch.rand(2, 7, *EVEN))

    assert {name: id(module) for name, module in model.named_modules()} == parts
    assert not any(module._forward_hooks for module in model.modules())


def test_parts_of_each_half() -> None:
    """What is frozen and what is trained follows from the tap."""
    model = build("unet_resnet18")
    assert CutBehindTap(model, "encoder").frozen == ("encoder",)
    assert CutBehindTap(model, "encoder").trained == ("decoder", "head")
    assert CutBehindTap(model, "decoder").frozen == ("encoder", "decoder")
    assert CutBeforeHead(model).frozen == ("encoder", "decoder")
    assert CutBeforeHead(model).trained == ("head",)
    with pytest.raises(UnknownName):
        CutBehindTap(nn.Sequential(), "decoder")
