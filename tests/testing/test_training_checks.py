"""Each rule about training catches the network that breaks it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def test_batch_two_trains(toys: Any) -> None:
    """A loss that is not finite, at two images alone."""

    class Exploding(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = super().forward(image)
            return logits * torch.inf if self.training and len(image) == 2 else logits

    assert toys.faults(Exploding)["batch_two_trains"] == "the loss of two images is nan"


def test_batch_two_changes_parameters(toys: Any) -> None:
    """A network whose gradients are all zero learns nothing."""

    class Constant(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            for parameter in self.parameters():
                nn.init.zeros_(parameter)

        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image) * 0

    assert toys.faults(Constant)["batch_two_trains"] == "a step with SGD changes no parameter"


def test_batch_two_changes_parameters_to_finite_values(toys: Any) -> None:
    """A finite loss whose gradient is not."""

    class Steep(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = super().forward(image)
            return logits + (logits - logits.detach()).abs().sqrt()

    faults = toys.faults(Steep)
    assert faults["batch_two_trains"].startswith("after one step, ")
    assert faults["gradients"].endswith(" is not finite")


class Pooling(nn.Module):
    """Describes an image by one pixel, normalised over the batch by ``norm``."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, features: Tensor) -> Tensor:
        """Return the features with their mean added."""
        mean: Tensor = self.norm(features.mean(dim=(2, 3), keepdim=True))
        return features + mean


def test_batch_one_may_be_refused_by_a_layer(toys: Any) -> None:
    """A batch norm over one pixel is found before the step, and so is a layer that refuses in its own words."""

    class Refusing(nn.Identity):
        def forward(self, features: Tensor) -> Tensor:
            if self.training and len(features) == 1:
                raise ValueError("two images, please")
            return features

    class Normalised(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.decoder.append(Pooling(nn.BatchNorm2d(8)))

    class Choosy(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.decoder.append(Pooling(Refusing()))

    assert toys.faults(Normalised) == {}
    assert toys.faults(Choosy) == {}


def test_batch_one_is_not_refused_without_a_layer(toys: Any) -> None:
    """Torch's own words about a value per channel, from the network itself, tell nobody where to look."""

    class Functional(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = super().forward(image)
            if not self.training:
                return logits
            return logits + F.batch_norm(logits.mean(dim=(2, 3), keepdim=True), None, None, training=True)

    assert toys.faults(Functional)["batch_one_trains"].startswith(
        "one image is refused, but by no layer that could be named: Expected more than 1 value per channel"
    )


def test_batch_one_crashes_are_told(toys: Any) -> None:
    """Any other error is a fault with its place."""

    class Crashing(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            if self.training and len(image) == 1:
                raise RuntimeError("no")
            logits: Tensor = super().forward(image)
            return logits

    (fault,) = toys.faults(Crashing).items()
    assert fault[0] == "batch_one_trains"
    assert fault[1].startswith("RuntimeError: no (test_training_checks.py, line ")


def test_batch_one_has_a_finite_loss(toys: Any) -> None:
    """A single image that trains to nothing."""

    class Exploding(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = super().forward(image)
            return logits * torch.inf if self.training and len(image) == 1 else logits

    assert toys.faults(Exploding) == {"batch_one_trains": "the loss of one image is nan"}


def test_gradients_reach_every_parameter(toys: Any) -> None:
    """A layer that is never called."""

    class Dead(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.decoder.unused = nn.Conv2d(8, 8, 1)

        def forward(self, image: Tensor) -> Tensor:
            features = self.decoder[1](self.decoder[0](self.encoder(image)))
            return F.interpolate(self.head(features), size=image.shape[-2:])

    assert toys.faults(Dead) == {"gradients": "no gradient reaches decoder.unused.weight"}


@pytest.mark.parametrize(
    ("factor", "faults"), [(1.0, {}), (0.0, {"gradients": "the gradient of head.extra.weight is zero"})]
)
def test_gradients_are_not_zero(toys: Any, factor: float, faults: dict[str, str]) -> None:
    """A layer whose output is multiplied by zero for ever."""

    class Muted(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.head.extra = nn.Conv2d(8, channels["num_classes"], 1)

        def forward(self, image: Tensor) -> Tensor:
            features = self.decoder(self.encoder(image))
            logits = self.head(features) + factor * self.head.extra(features)
            return F.interpolate(logits, size=image.shape[-2:])

    assert toys.faults(Muted) == faults


def test_gradients_may_start_at_zero(toys: Any) -> None:
    """A branch that is switched off at first, by a factor that learns, is not dead."""

    class Growing(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.head.extra = nn.Conv2d(8, channels["num_classes"], 1)
            self.head.factor = nn.Parameter(torch.zeros(1))

        def forward(self, image: Tensor) -> Tensor:
            features = self.decoder(self.encoder(image))
            logits = self.head(features) + self.head.factor * self.head.extra(features)
            return F.interpolate(logits, size=image.shape[-2:])

    assert toys.faults(Growing) == {}


def test_gradients_may_be_zero_by_chance(toys: Any) -> None:
    """A lone unit that is off in one network, and on in others, is not dead."""

    class Lone(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.head.unit = nn.Linear(1, 1, bias=False)
            nn.init.constant_(self.head.unit.weight, 1 if torch.initial_seed() == 3 else -1)

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = super().forward(image)
            return logits * (1 + self.head.unit(image.new_ones(1)).relu())

    assert toys.faults(Lone) == {}


def test_frozen_encoder_keeps_its_buffers(toys: Any) -> None:
    """Statistics that the network updates by hand, whatever the encoder's mode."""

    class Updating(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            if self.training:
                self.encoder[1].running_mean += 0.1
            logits: Tensor = super().forward(image)
            return logits

    assert toys.faults(Updating) == {"freeze_encoder": "encoder.1.running_mean changes although the encoder is frozen"}


def test_frozen_encoder_is_deterministic(toys: Any) -> None:
    """Dropout that asks whether gradients are wanted instead of asking for the mode."""

    class Dropping(nn.Conv2d):
        def forward(self, features: Tensor) -> Tensor:
            return F.dropout(super().forward(features), 0.5, training=torch.is_grad_enabled())

    class Noisy(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.encoder.append(Dropping(8, 8, 1))

    assert toys.faults(Noisy) == {
        "freeze_encoder": "in training mode, a frozen encoder gives other features for the same images"
    }


def test_frozen_encoder_calls_the_same_layers(toys: Any) -> None:
    """A layer that is left out at random, as in stochastic depth that does not ask for the mode."""

    class Skipping(nn.Sequential):
        def forward(self, features: Tensor) -> Tensor:
            skips = torch.is_grad_enabled() and not features.is_meta and torch.initial_seed() == 1
            return features if skips else super().forward(features)

    class Shallow(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            self.encoder.append(Skipping(nn.Identity()))

    assert toys.faults(Shallow) == {
        "freeze_encoder": "in training mode, a frozen encoder gives other features for the same images"
    }


def test_the_rest_trains_while_the_encoder_is_frozen(toys: Any) -> None:
    """A network that freezes all of itself when a part is."""

    class Sulking(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = super().forward(image)
            if self.training and not self.encoder.training:
                self.decoder.requires_grad_(False)
                for parameter in self.decoder.parameters():
                    parameter.grad = None
                return F.interpolate(self.head(self.encoder(image)), size=image.shape[-2:])
            return logits

    assert toys.faults(Sulking) == {"freeze_encoder": "no parameter of the decoder changes while the encoder is frozen"}


def test_an_encoder_whose_parts_are_called_directly(toys: Any) -> None:
    """Freezing reaches layers that the network calls without the encoder around them."""

    class Direct(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            features = image
            for layer in self.encoder:
                features = layer(features)
            return F.interpolate(self.head(self.decoder(features)), size=image.shape[-2:])

    assert toys.faults(Direct) == {}
