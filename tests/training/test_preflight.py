"""A batch of one image that a layer cannot train on is found before the first step, and no other is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from segzoo.build import create_model
from segzoo.errors import UsageFault
from segzoo.recipe import load_recipe
from segzoo.training.preflight import Refusal, check_batch_norm, find_refusal, warn_of_random_features


class Narrow(nn.Module):
    """Ends in a batch norm over a map of one pixel where the image has 8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 2, stride=2))
        self.head = nn.Sequential(nn.Identity(), nn.BatchNorm2d(4))

    def forward(self, image: Tensor) -> Tensor:
        """Return one value per channel for an image of 8x8."""
        result: Tensor = self.head(self.encoder(image))
        return result


def test_single_value_is_refused_with_the_layer() -> None:
    """The message names the batch norm, the size and the way out."""
    with pytest.raises(UsageFault) as caught:
        check_batch_norm(Narrow(), in_channels=3, size=(8, 8))

    message = str(caught.value)
    assert message.startswith(
        "train.batch_size 1: the layer head.1 cannot train on one image of 8x8 pixels: a batch norm"
    )
    assert message.endswith("use a train.batch_size of 2 or more")
    assert caught.value.exit_code == 2
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Narrow()(torch.rand(1, 3, 8, 8))


class Picky(nn.Sequential):
    """Refuses a single image, like pyramid pooling, after a layer in it has run."""

    def forward(self, image: Tensor) -> Tensor:
        """Run the layers, then refuse."""
        features: Tensor = super().forward(image)
        if self.training and len(features) == 1:
            raise ValueError("at least 2 images, got 1")
        return features


def test_layer_that_refuses_by_itself_is_named() -> None:
    """The layer in the message is the one that said no, not the last one that ran inside it."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Picky(nn.Conv2d(3, 3, 1)))

    with pytest.raises(
        UsageFault, match="the layer 1 cannot train on one image of 8x4 pixels: at least 2 images, got 1"
    ):
        check_batch_norm(model, in_channels=3, size=(8, 4))


def test_model_that_refuses_by_itself() -> None:
    """Where no layer refuses, but the model, the refusal has no layer's name, and the message says so."""
    model = Picky(nn.Conv2d(3, 3, 1))

    assert find_refusal(model, in_channels=3, size=(8, 8)) == Refusal("", "at least 2 images, got 1")
    with pytest.raises(UsageFault, match="the layer at the top cannot train on one image of 8x8 pixels"):
        check_batch_norm(model, in_channels=3, size=(8, 8))


def test_more_than_one_value_passes() -> None:
    """A larger image gives the same batch norm statistics to take."""
    check_batch_norm(Narrow(), in_channels=3, size=(8, 16))
    assert find_refusal(Narrow(), in_channels=3, size=(8, 16)) is None

    Narrow()(torch.rand(1, 3, 8, 16))


def test_the_model_is_left_as_it_was() -> None:
    """Neither mode nor statistics nor device change, and no hook stays behind."""
    model = Narrow().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    check_batch_norm(model, in_channels=3, size=(16, 16))

    assert not any(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_fast_scnn_is_refused_with_its_layer() -> None:
    """Its pyramid pooling averages over the whole image; the message names that layer and what it says."""
    model = create_model("fast_scnn", num_classes=3)

    with pytest.raises(UsageFault) as caught:
        check_batch_norm(model, in_channels=3, size=(96, 96))

    assert "train.batch_size 1: the layer encoder.global_feature_extractor.3 cannot train" in str(caught.value)
    assert "pyramid pooling trains on batches of at least 2 images" in str(caught.value)


def test_segnet_trains_on_one_small_image() -> None:
    """No layer of SegNet is refused at 64x64, and a step on one such image gives finite gradients indeed."""
    torch.manual_seed(0)
    model = create_model("segnet", num_classes=3)

    check_batch_norm(model, in_channels=3, size=(64, 64))

    model.train()(torch.rand(1, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            ("transfer.strategy=frozen_encoder",),
            "transfer.strategy 'frozen_encoder' freezes an encoder of random weights",
        ),
        (("transfer.strategy=finetune", "transfer.unfreeze_encoder_at=2"), "transfer.unfreeze_encoder_at 2 freezes"),
        (("transfer.strategy=finetune", "transfer.unfreeze_encoder_at=1"), None),
        (("transfer.strategy=scratch",), None),
        (("transfer.strategy=frozen_encoder", "model.weights=imagenet"), None),
    ],
)
def test_frozen_random_features_are_told(
    caplog: pytest.LogCaptureFixture, changes: tuple[str, ...], named: str | None
) -> None:
    """A warning names the key that freezes; pretrained weights and encoders that train have none."""
    warn_of_random_features(load_recipe("quickstart", ("model.weights=null", *changes)))

    assert [record.levelname for record in caplog.records] == ["WARNING"] * (named is not None)
    assert (named or "") in caplog.text
