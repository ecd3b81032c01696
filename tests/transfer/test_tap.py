"""Features are looked at without leaving a trace, and heads are replaced by name."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from segzoo import create_model
from segzoo.errors import UnknownName
from segzoo.transfer import replace_head, tap


@pytest.fixture
def model() -> nn.Module:
    """Return a small model in evaluation mode."""
    return create_model("fast_scnn", num_classes=3).eval()


def test_tap_gives_what_a_part_returns(model: nn.Module) -> None:
    """The features are those of the last call, detached."""
    image = torch.rand(1, 3, 64, 64)
    with tap(model, "decoder") as tapped:
        model(torch.rand(1, 3, 64, 64))
        model(image)

    assert torch.equal(tapped.features, model.decoder(*model.encoder(image)))
    assert not tapped.features.requires_grad


def test_tap_keeps_the_form_of_features(model: nn.Module) -> None:
    """An encoder that returns several tensors is tapped whole."""
    with tap(model, "encoder") as tapped:
        model(torch.rand(1, 3, 64, 64))

    assert [tuple(part.shape[1:]) for part in tapped.features] == [(64, 8, 8), (128, 2, 2)]
    assert not any(part.requires_grad for part in tapped.features)


def test_nothing_is_left_of_a_tap(model: nn.Module) -> None:
    """After the block, even one that failed, the model can be copied and pickled and calls no hook."""
    with pytest.raises(RuntimeError, match="stop"), tap(model, "decoder") as tapped:
        raise RuntimeError("stop")
    model(torch.rand(1, 3, 64, 64))

    assert not any(module._forward_hooks for module in model.modules())
    copy.deepcopy(model)
    pickle.dumps(model)
    with pytest.raises(ValueError, match="call the model"):
        _ = tapped.features


def test_unknown_part_is_refused(model: nn.Module) -> None:
    """The message suggests the part that was meant."""
    with pytest.raises(UnknownName, match="'decoder'"), tap(model, "decodr"):
        pass


def test_head_is_replaced_and_returned(model: nn.Module) -> None:
    """The old head is handed back, and fits again."""
    image = torch.rand(1, 3, 64, 64)
    before = model(image)
    head = replace_head(model, nn.Identity())
    features = model(image)
    replace_head(model, nn.Conv2d(128, 7, 1))
    assert model(image).shape == (1, 7, 64, 64)

    replace_head(model, head)

    assert features.shape == (1, 128, 64, 64)
    assert torch.equal(model(image), before)


def test_model_without_head_is_refused() -> None:
    """Any network can be given, and not all have the parts of ours."""
    with pytest.raises(UnknownName, match="head"):
        replace_head(nn.Sequential(), nn.Identity())
