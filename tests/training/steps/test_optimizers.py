"""Optimizers hold every parameter in fixed groups, each with its part's learning rate."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from segzoo.recipe import schema
from segzoo.training.steps.optimizers import (
    KERNELS,
    build_optimizer,
    learning_rates,
    restore_optimizer,
    set_learning_rate,
)

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


def build(model: nn.Module, section: schema.OptimizerSection, *, fused: bool = False) -> torch.optim.Optimizer:
    """Return an optimizer with a slow encoder."""
    return build_optimizer(model, section, encoder_scale=0.1, layer_decay=None, fused=fused)


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
    restore_optimizer(new, copy.deepcopy(old.state_dict()))  # torch would let the two share their buffers
    _step(first, old)
    _step(second, new)

    assert learning_rates(new) == learning_rates(old)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@each_section
@pytest.mark.parametrize("before", [False, True], ids=["from the CPU", "from a GPU"])
def test_kernels_are_those_that_were_built(section: schema.OptimizerSection, before: bool) -> None:
    """A state that other kernels left behind changes none here; moments and learning rates come from it."""
    first, second = Small(), Small()
    old, new = build(first, section, fused=before), build(second, section, fused=not before)
    _step(first, old)
    built = [{key: group.get(key) for key in KERNELS} for group in new.param_groups]

    restore_optimizer(new, copy.deepcopy(old.state_dict()))

    assert [{key: group.get(key) for key in KERNELS} for group in new.param_groups] == built
    assert {group["fused"] for group in new.param_groups} == {not before}
    assert learning_rates(new) == learning_rates(old)
    states = [optimizer.state_dict()["state"] for optimizer in (old, new)]
    assert states[0].keys() == states[1].keys()
    for index, state in states[0].items():
        assert all(torch.equal(value, states[1][index][key]) for key, value in state.items())
    _step(second, new)


@pytest.mark.parametrize("kernels", [{"fused": True}, {"capturable": True}, {}], ids=str)
def test_counters_lie_where_the_kernels_read_them(kernels: dict[str, bool]) -> None:
    """Fused and captured kernels find Adam's counters on the device of the parameters, the others on the CPU."""
    first = Small()
    old, new = build(first, SECTIONS[1]), build(Small().to("meta"), SECTIONS[1])
    _step(first, old)
    for group in new.param_groups:
        group.update(kernels)

    restore_optimizer(new, old.state_dict())

    assert {state["step"].device.type for state in new.state.values()} == {"meta" if kernels else "cpu"}
    assert {state["exp_avg"].device.type for state in new.state.values()} == {"meta"}


def test_counters_of_a_device_come_back() -> None:
    """A state whose counters are not on the CPU, which fused kernels leave behind, is read by ordinary kernels."""
    saved = build(Small(), SECTIONS[1]).state_dict()
    moments = {key: torch.zeros(1) for key in ("exp_avg", "exp_avg_sq")}
    saved["state"] = {0: {"step": _Elsewhere(torch.tensor(3.0)), **moments}}
    optimizer = build(Small(), SECTIONS[1])

    restore_optimizer(optimizer, saved)

    assert [type(state["step"]) for state in optimizer.state.values()] == [torch.Tensor]


class _Elsewhere(torch.Tensor):
    """Stands for a tensor on a GPU."""

    def cpu(self, *_: object) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_a_learning_rate_in_memory_stays_there() -> None:
    """A rate that kernels read from a tensor is that tensor afterwards, and a plain number is a plain number."""
    old, new = build(Small(), SECTIONS[0]), build(Small(), SECTIONS[0])
    set_learning_rate(old, 0.25)
    rates = [torch.tensor(0.0) for _ in new.param_groups]
    for group, rate in zip(new.param_groups, rates, strict=True):
        group["lr"] = rate

    restore_optimizer(new, old.state_dict())
    assert all(group["lr"] is rate for group, rate in zip(new.param_groups, rates, strict=True))
    assert [rate.item() for rate in rates] == pytest.approx(list(learning_rates(old).values()))

    restore_optimizer(old, new.state_dict())
    assert {type(group["lr"]) for group in old.param_groups} == {float}
    assert learning_rates(old) == pytest.approx(learning_rates(new))


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
