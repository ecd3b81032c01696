"""Each rule about evaluation, building and saving catches the network that breaks it."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def test_evaluates_to_finite_logits(toys: Any) -> None:
    """Values that are wrong where shapes are right, at odd widths alone."""

    class Exploding(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = super().forward(image)
            return logits * torch.inf if image.shape[-1] % 2 else logits

    assert toys.faults(Exploding) == {"evaluates": "logits for 1 images of 97x131 pixels are not finite"}


def test_two_eval_passes(toys: Any) -> None:
    """Dropout that does not look at the mode."""

    class Dropping(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            return F.dropout(super().forward(image), 0.1)

    (fault,) = toys.faults(Dropping).items()
    assert fault[0] == "two_eval_passes"
    assert fault[1].startswith("two passes over one image differ by up to ")


def test_deterministic_build(toys: Any) -> None:
    """Random numbers that torch's seed does not reach."""

    class Drawing(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            torch.nn.init.constant_(self.head.bias, random.random())

    assert toys.faults(Drawing) == {
        "deterministic_build": "two builds under one seed differ in head.bias; draw random numbers from torch alone"
    }


def test_deterministic_build_of_the_same_tensors(toys: Any) -> None:
    """Two builds that differ in what they hold."""
    built: list[object] = []

    class Growing(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            built.append(self)
            self.head.register_buffer(f"number_{len(built)}", torch.zeros(1))

    assert toys.faults(Growing)["deterministic_build"].startswith("two builds differ in the tensor head.number_")


def test_state_dict(toys: Any) -> None:
    """A tensor that matters and is not saved."""

    class Forgetful(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.head.register_buffer("scale", torch.rand(1), persistent=False)

        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image) * self.head.scale

    assert toys.faults(Forgetful) == {
        "state_dict": "a new network with the same state dict gives other logits: some state is not in it"
    }


def test_state_dict_of_a_used_network(toys: Any) -> None:
    """A number that moves while the network is used, and is not saved."""

    class Counting(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.head.register_buffer("seen", torch.zeros(1), persistent=False)

        def forward(self, image: Tensor) -> Tensor:
            if self.training:
                self.head.seen += len(image)
            return super().forward(image) + self.head.seen

    assert set(toys.faults(Counting)) == {"state_dict"}


def test_moves_to_meta(toys: Any) -> None:
    """A tensor that torch does not know of stays where it is when the network moves."""

    class Left(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.encoder.weight = torch.full((8, 8, 1, 1), 0.5)

        def forward(self, image: Tensor) -> Tensor:
            features = F.conv2d(self.encoder(image), self.encoder.weight)
            return F.interpolate(self.head(self.decoder(features)), size=image.shape[-2:])

    assert toys.faults(Left) == {
        "moves_to_meta": "the tensor encoder.weight is left behind when the network moves; register it as a buffer"
    }


def test_moves_to_meta_and_stays_there(toys: Any) -> None:
    """A network that remembers the device it was built on."""

    class Remembering(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.device = torch.zeros(()).device

        def forward(self, image: Tensor) -> Tensor:
            logits = super().forward(image)
            return torch.zeros_like(logits, device=self.device) if image.is_meta else logits

    assert toys.faults(Remembering) == {"moves_to_meta": "a network on the meta device gives logits on the device cpu"}
