"""The moving average follows its formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segzoo.training.steps.average import WeightAverage
from segzoo.transfer import freeze


class Small(nn.Module):
    """Two parts with a batch norm each."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        logits: torch.Tensor = self.head(self.encoder(image))
        return logits


def test_follows_its_formula() -> None:
    """Weights and statistics of batch norms are averaged, counters copied."""
    torch.manual_seed(0)
    model = Small()
    average = WeightAverage(model, 0.9)
    expected = {name: tensor.double() for name, tensor in model.state_dict().items()}

    for _ in range(3):
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter))
        model(torch.randn(2, 3, 4, 4))
        average.update()
        for name, tensor in model.state_dict().items():
            counter = name.endswith("num_batches_tracked")
            expected[name] = tensor.double() if counter else 0.9 * expected[name] + 0.1 * tensor.double()

    for name, tensor in average.model.state_dict().items():
        assert tensor.double().numpy() == pytest.approx(expected[name].numpy(), rel=1e-5, abs=1e-6), name
    assert average.model.head[1].num_batches_tracked == 3


def test_what_is_frozen_keeps_every_bit() -> None:
    """An average of equal numbers is that number, so that a frozen part stays as it is in the average too."""
    torch.manual_seed(0)
    model = Small()
    freeze(model, "encoder")
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    average = WeightAverage(model, 0.999)

    model.train()
    for _ in range(20):
        model(torch.randn(2, 3, 4, 4))
        average.update()

    for name, tensor in average.model.encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_takes_no_gradient() -> None:
    """The average is computed, never trained, and freezing it changes nothing in the model."""
    model = Small()

    average = WeightAverage(model, 0.5)

    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_follows_a_model_whose_state_is_loaded() -> None:
    """A checkpoint is copied into the tensors that the average knows."""
    torch.manual_seed(0)
    model, other = Small(), Small()
    average = WeightAverage(model, 0.5)

    model.load_state_dict(other.state_dict())
    average.model.load_state_dict(other.state_dict())
    model.head[0].weight.data.add_(2)
    model.head[1].num_batches_tracked.add_(3)
    average.update()

    torch.testing.assert_close(average.model.head[0].weight, other.head[0].weight + 1)
    assert average.model.head[1].num_batches_tracked == 3
