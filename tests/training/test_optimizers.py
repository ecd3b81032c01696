"""Optimizers hold every parameter in fixed groups, each with its part's learning rate."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from segzoo.recipe import schema
from segzoo.training.optimizers import build_optimizer, learning_rates, set_learning_rate

SECTIONS = (
    schema.Sgd(lr=0.02, momentum=0.8, weight_decay=0.003),
    schema.Adam(lr=0.02, betas=(0.8, 0.95), weight_decay=0.003),
    schema.AdamW(lr=0.02, betas=(0.8, 0.95), weight_decay=0.003),
)
each_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)


class Small(nn.Module):
    """Three equal parts and a parameter beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(2, 2)
        self.decoder = nn.Linear(2, 2)
        self.encoder = nn.Linear(2, 2)


def build(model: nn.Module, section: schema.OptimizerSection) -> torch.optim.Optimizer:
    """Return an optimizer with a slow encoder."""
    return build_optimizer(model, section, encoder_scale=0.1, layer_decay=None, fused=False)


@each_section
def test_every_parameter_is_in_once(section: schema.OptimizerSection) -> None:
    """Groups are the parts in their fixed order, and together they are the model, frozen parameters included."""
    model = Small()
    model.encoder.requires_grad_(False)

    groups = build(model, section).param_groups

    assert [group["part"] for group in groups] == ["encoder", "decoder", "head", "other"]
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize(
    ("section", "kind"), [*zip(SECTIONS, (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW), strict=True)]
)
def test_settings_reach_torch(section: schema.OptimizerSection, kind: type[torch.optim.Optimizer]) -> None:
    """The class is the named one, and every key of the recipe is in every group."""
    optimizer = build(Small(), section)

    assert type(optimizer) is kind
    settings = section.model_dump(exclude={"name"})
    for group in optimizer.param_groups:
        assert {key: group[key] for key in settings} == settings


def test_scales_multiply_the_learning_rate() -> None:
    """The encoder gets a tenth of the rate of the step; parts that no scale names get all of it."""
    optimizer = build(Small(), SECTIONS[2])

    set_learning_rate(optimizer, 0.5)
    set_learning_rate(optimizer, 0.3)  # not on top of the one before

    assert learning_rates(optimizer) == pytest.approx({"encoder": 0.03, "decoder": 0.3, "head": 0.3, "other": 0.3})


def test_a_slow_part_moves_less() -> None:
    """With equal gradients SGD moves the encoder a tenth as far as the head."""
    model = Small()
    optimizer = build(model, schema.Sgd())
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    set_learning_rate(optimizer, 0.5)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)

    optimizer.step()

    moved = {name: (before[name] - parameter.detach()).max().item() for name, parameter in model.named_parameters()}
    assert moved["encoder.weight"] == pytest.approx(0.05, rel=1e-5)
    assert (moved["head.weight"], moved["decoder.bias"]) == pytest.approx((0.5, 0.5), rel=1e-5)
    assert moved["scale"] == pytest.approx(0.5, rel=1e-5)


@each_section
def test_state_can_be_restored(section: schema.OptimizerSection) -> None:
    """A second optimizer that takes over the state, groups included, makes the same next step to the bit."""
    torch.manual_seed(0)
    first, second = Small(), Small()
    old, new = build(first, section), build(second, section)
    _step(first, old)

    second.load_state_dict(first.state_dict())
    new.load_state_dict(copy.deepcopy(old.state_dict()))  # torch would let the two share their buffers
    _step(first, old)
    _step(second, new)

    assert learning_rates(new) == learning_rates(old)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def _step(model: Small, optimizer: torch.optim.Optimizer) -> None:
    set_learning_rate(optimizer, 0.1)
    optimizer.zero_grad(set_to_none=True)
    output = model.head(model.decoder(model.encoder(torch.ones(3, 2)))) * model.scale
    output.square().sum().backward()
    optimizer.step()


def test_layer_decay_falls_from_the_decoder_to_the_image() -> None:
    """The encoder's last layer has the decay once, each one before it once more, on top of the encoder's own scale."""
    model = Small()
    model.encoder = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = build_optimizer(model, schema.Sgd(), encoder_scale=0.5, layer_decay=0.1, fused=False)

    set_learning_rate(optimizer, 1.0)

    assert learning_rates(optimizer) == pytest.approx(
        {"encoder.0": 0.0005, "encoder.1": 0.005, "encoder.2": 0.05, "decoder": 1.0, "head": 1.0, "other": 1.0}
    )
