"""A network that cannot train on one image names the layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segzoo import create_model
from segzoo.nn.encoder_decoder import EncoderDecoder


def on_meta(name: str, **params: object) -> nn.Module:
    """Build a model without storage."""
    with torch.device("meta"):
        return create_model(name, num_classes=3, **params)


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("smp_deeplabv3", 64, "decoder.aspp.convs.4.2"),
        ("smp_deeplabv3plus", 64, "decoder.aspp.0.convs.4.2"),
        ("smp_pan", 128, "decoder.fpa.branch1.1.bn"),
        ("smp_upernet", 64, "decoder.psp.blocks.0.1.1"),
        ("smp_unet", 32, "encoder.layer4.0.bn1"),
    ],
)
def test_batch_of_one_is_refused_by_the_layer_that_cannot_train_on_it(name: str, size: int, layer: str) -> None:
    """A batch norm that would see one value per channel is named; evaluation takes one image."""
    model = on_meta(name, encoder="resnet18")
    images = torch.empty(1, 3, size, size, device="meta")

    with pytest.raises(ValueError, match=rf"the layer {layer} cannot train on one image of {size}x{size} pixels"):
        model(images)
    assert model.eval()(images).shape == (1, 3, size, size)


@pytest.mark.parametrize("name", ["smp_unet", "smp_pspnet", "segformer_resnet18"])
def test_batch_of_one_trains_otherwise(name: str) -> None:
    """Without a batch norm behind image pooling, one image is enough."""
    model = on_meta(name)
    assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 3, 64, 64)


def test_other_errors_in_training_stay_as_they_are() -> None:
    """An image with too many channels is not the batch's fault."""
    network = EncoderDecoder(nn.Conv2d(3, 4, 1), nn.Identity(), nn.Conv2d(4, 2, 1))
    with pytest.raises(RuntimeError, match="channels"):
        network(torch.empty(1, 5, 8, 8))
