"""Each rule about shapes and parts catches the network that breaks it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segzoo.spec import InputSpec
from segzoo.testing import check_model


def test_parts_holds_every_tensor(toys: Any) -> None:
    """A tensor outside the parts would be neither frozen nor given a learning rate."""

    class Stray(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.scale = nn.Parameter(torch.ones(()))
            self.register_buffer("offset", torch.ones(()))

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = super().forward(image)
            return logits * self.scale + self.offset

    assert toys.faults(Stray) == {
        "parts": "the tensor scale is in none of encoder, decoder, head, nor are 1 others",
    }


def test_parts_are_there(toys: Any) -> None:
    """Without a head nothing can be built, and each check that needs a network says so."""

    class Headless(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.scores, self.head = self.head, None

    faults = toys.faults(Headless)
    assert "has no submodule 'head'" in faults["parts"]
    assert "strict_params" not in faults


def test_decoder_may_be_missing(toys: Any) -> None:
    """A network of encoder and head keeps the contract."""

    class Short(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.head = nn.Sequential(*self.decoder, self.head)
            self.decoder = None

        def forward(self, image: Tensor) -> Tensor:
            return nn.functional.interpolate(self.head(self.encoder(image)), size=image.shape[-2:])

    assert toys.faults(Short) == {}


def test_logits_shape_at_odd_sizes(toys: Any) -> None:
    """A network that doubles what it halved is wrong where a size is odd."""

    class Doubling(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            return nn.functional.interpolate(self.head(self.decoder(self.encoder(image))), scale_factor=2)

    faults = toys.faults(Doubling)
    assert faults == {
        "logits_shape": "expected logits (1, 2, 97, 131), got (1, 2, 98, 132)",
        "evaluates": "expected logits (1, 2, 97, 131), got (1, 2, 98, 132)",
    }


def test_logits_shape_from_the_smallest_size_on(toys: Any) -> None:
    """``min_size`` is a promise, and smaller images are never asked for."""

    class Deep(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            nn.functional.max_pool2d(image, 32)  # refuses smaller images
            logits: Tensor = super().forward(image)
            return logits

    assert toys.faults(Deep, input=InputSpec(min_size=32)) == {}
    assert set(toys.faults(Deep, input=InputSpec(min_size=31))) == {"logits_shape", "evaluates"}


def test_logits_are_floating_point_tensors(toys: Any) -> None:
    """Labels instead of logits, or a tuple around them, are refused."""

    class Labels(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image).argmax(dim=1, keepdim=True).expand(-1, 2, -1, -1)

    class Tuple(toys.Network):
        def forward(self, image: Tensor) -> tuple[Tensor]:
            return (super().forward(image),)

    assert toys.faults(Labels)["logits_shape"] == "expected floating point logits, got torch.int64"
    assert toys.faults(Tuple)["logits_shape"] == "expected logits (1, 2, 97, 131), got a tuple"


def test_channels_of_the_logits(toys: Any) -> None:
    """One class is one channel, not two."""

    def build(*, in_channels: int, num_classes: int) -> nn.Module:
        network: nn.Module = toys.Network(in_channels=in_channels, num_classes=max(2, num_classes))
        return network

    assert toys.faults(build) == {"channels": "expected logits (1, 1, 64, 64), got (1, 2, 64, 64)"}


def test_channels_of_the_image(toys: Any) -> None:
    """A first layer of three channels whatever is asked for fails with torch's words and the line."""

    def build(*, in_channels: int, num_classes: int) -> nn.Module:
        network: nn.Module = toys.Network(in_channels=3, num_classes=num_classes)
        return network

    (fault,) = toys.faults(build).items()
    assert fault[0] == "channels"
    assert "RuntimeError: " in fault[1]
    assert "(conftest.py, line " in fault[1]


def test_auxiliary_outputs_only_where_declared(toys: Any) -> None:
    """In training mode, a plain model gives logits alone, and one that declares ``aux`` a dict of these names."""

    class Helped(toys.Network):
        def forward(self, image: Tensor) -> Tensor | dict[str, Tensor]:
            logits: Tensor = super().forward(image)
            return {"logits": logits, "early": 2 * logits} if self.training else logits

    assert toys.faults(Helped, aux=("early",)) == {}
    details = {
        (): "expected logits (2, 2, 64, 64), got a dict",
        ("late",): "in training mode, expected a dict with the keys ['late', 'logits'], got the keys "
        "['early', 'logits']",
    }
    for aux, detail in details.items():
        assert toys.faults(Helped, aux=aux) == {"auxiliary_outputs": detail}
    assert toys.faults(aux=("early",)) == {
        "auxiliary_outputs": "in training mode, expected a dict with the keys ['early', 'logits'], got a Tensor"
    }


def test_auxiliary_outputs_have_the_size_of_the_image(toys: Any) -> None:
    """An auxiliary output is logits like the others."""

    class Helped(toys.Network):
        def forward(self, image: Tensor) -> Tensor | dict[str, Tensor]:
            logits: Tensor = super().forward(image)
            return {"logits": logits, "early": logits[..., ::2]} if self.training else logits

    (row,) = check_model(toys.spec(Helped, aux=("early",)), only=["auxiliary_outputs"]).rows
    assert row.detail == "expected logits (2, 2, 64, 64), got (2, 2, 64, 32)"


def test_a_network_that_computes_while_it_is_built(toys: Any) -> None:
    """A builder that cannot run on the meta device is no fault: the network is moved there."""

    class Computing(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            if torch.linspace(0, 1, 2).sum().item() != 1:
                raise AssertionError

    assert toys.faults(Computing) == {}
