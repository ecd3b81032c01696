"""Every parameter belongs to exactly one part, and a frozen part stays as it is."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from segzoo.build import create_model
from segzoo.errors import UnknownName
from segzoo.transfer import encoder_layers, freeze, parameter_groups, unfreeze


class Small(nn.Module):
    """A module with all parts, and with names that look like parts and are none."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Conv2d(4, 2, 1)
        self.encoder_norm = nn.BatchNorm2d(4)
        self.decoder = nn.ModuleDict({"head": nn.Conv2d(4, 4, 3), "encoder": nn.Conv2d(4, 4, 3, bias=False)})
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.neck = nn.Conv2d(4, 4, 1, bias=False)


def test_groups_hold_every_parameter_once() -> None:
    """The groups are a partition by the first name; what is in no part is in ``other``."""
    model = Small()

    groups = parameter_groups(model)

    assert {name: {id(p) for p in group} for name, group in groups.items()} == {
        "encoder": {id(p) for p in model.encoder.parameters()},
        "decoder": {id(p) for p in model.decoder.parameters()},
        "head": {id(p) for p in model.head.parameters()},
        "other": {id(model.scale), *map(id, model.encoder_norm.parameters()), id(model.neck.weight)},
    }
    assert sum(map(len, groups.values())) == len(list(model.parameters()))


def test_order_of_groups_is_fixed() -> None:
    """An optimizer's state is matched by position, so neither groups nor parameters follow the order of definition."""
    groups = parameter_groups(Small())

    assert list(groups) == ["encoder", "decoder", "head", "other"]
    assert [p.shape for p in groups["encoder"]] == [p.shape for p in Small().encoder.parameters()]


def test_frozen_parameters_stay_in() -> None:
    """A parameter without gradient is in its group from the first step on."""
    model = Small()
    model.encoder.requires_grad_(False)

    assert len(parameter_groups(model)["encoder"]) == 4


def test_shared_parameter_is_listed_once() -> None:
    """Tied weights are moved by one group, that of the part which names them first."""
    model = Small()
    model.neck.weight = model.head.weight  # type: ignore[assignment]

    groups = parameter_groups(model)

    found = [name for name, group in groups.items() for p in group if p is model.head.weight]
    assert found == ["head"]


def test_empty_groups_are_left_out() -> None:
    """A model without decoder has no group of that name, which torch would warn of."""
    model = Small()
    del model.decoder, model.scale, model.encoder_norm, model.neck

    assert list(parameter_groups(model)) == ["encoder", "head"]


def test_built_in_models_have_no_other_parameters() -> None:
    """All that a built-in network learns is in one of its parts."""
    for name in ("segnet", "fast_scnn"):
        with torch.device("meta"):
            model = create_model(name, num_classes=3)
        assert "other" not in parameter_groups(model)


class Stages(nn.Module):
    """An encoder with all that training moves, whose stages the model also calls one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=None), nn.Dropout(0.5)),
        )
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))

    def features(self, image: Tensor) -> Tensor:
        """Return what the stages make of an image, without a call of the encoder itself."""
        for stage in self.encoder:
            image = stage(image)
        return image

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.features(image))


def wild_optimizer(model: nn.Module) -> torch.optim.SGD:
    """Return an optimizer that moves every parameter that has a gradient, be it zero."""
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)


def train(model: nn.Module, optimizer: torch.optim.SGD) -> None:
    """Train as a loop does."""
    for step in range(3):
        model.train()
        optimizer.zero_grad(set_to_none=step % 2 == 0)
        model(torch.rand(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Return the parts in which a tensor is another."""
    return {name.split(".")[0] for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def test_frozen_part_keeps_every_bit() -> None:
    """Frozen after a step that left momentum behind, no parameter and no statistic of the encoder moves."""
    model = Stages()
    optimizer = wild_optimizer(model)
    train(model, optimizer)
    freeze(model, "encoder")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, optimizer)
    assert changed(model, before) == {"head"}
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.encoder.parameters())


def clone_by_pickle(model: nn.Module) -> nn.Module:
    """Return the model after a way through bytes."""
    result: nn.Module = pickle.loads(pickle.dumps(model))
    return result


@pytest.mark.parametrize("clone", [lambda model: model, copy.deepcopy, clone_by_pickle])
def test_frozen_part_stays_in_evaluation(clone: Callable[[Stages], Stages]) -> None:
    """No call of ``train`` wakes a frozen part or a layer of it, not even in a copy; the rest follows the model."""
    model = Stages().train()
    freeze(model, "encoder")
    model = clone(model)
    assert model.train() is model
    assert model.encoder.train() is model.encoder
    model.encoder[1].train(True)
    assert not any(module.training for module in model.encoder.modules())
    assert all(module.training for module in model.head.modules())
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(model.features(image), model.features(image))


def test_a_copy_is_a_model_of_its_own() -> None:
    """Unfreezing a copy leaves the model frozen, and the other way round."""
    model = Stages()
    freeze(model, "encoder")
    twin = copy.deepcopy(model)
    unfreeze(twin, "encoder")
    model.train()
    twin.train()
    assert twin.encoder[1].training
    assert not model.encoder[1].training
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())


def test_state_dict_does_not_tell() -> None:
    """What is saved of a frozen model is what is saved of any."""
    model = Stages()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    freeze(model, "encoder")
    assert list(model.state_dict()) == list(before)
    assert changed(model, before) == set()
    Stages().load_state_dict(model.state_dict())


@pytest.mark.parametrize("training", [True, False])
def test_unfreeze_follows_the_model(training: bool) -> None:
    """Freezing twice is freezing; after unfreezing, every parameter trains and the layers are in the model's mode."""
    model = Stages()
    freeze(model, "encoder")
    freeze(model, "encoder", "head")
    model.train(training)
    unfreeze(model, "encoder", "head")
    unfreeze(model, "encoder")
    assert all(module.training == training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert "train" not in vars(model.encoder[0][0])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    freeze(model, "head")
    train(model, wild_optimizer(model))
    assert changed(model, before) == {"encoder"}


def test_parameters_that_never_trained_do_after_unfreeze() -> None:
    """Freezing keeps no list: what never trains is a buffer."""
    model = Stages()
    model.encoder[0][0].weight.requires_grad_(False)
    freeze(model, "encoder")
    unfreeze(model, "encoder")
    assert model.encoder[0][0].weight.requires_grad


def test_unknown_part_changes_nothing() -> None:
    """A typo gets a suggestion before any part is frozen; a decoder that is not there is told; so is an empty call."""
    model = Stages()
    for action in (freeze, unfreeze):
        with pytest.raises(UnknownName, match=r"Stages \(encoder, head\) named 'encodr'. Did you mean 'encoder'\?"):
            action(model, "head", "encodr")
        with pytest.raises(UnknownName, match=r"no part of Stages \(encoder, head\) named 'decoder'"):
            action(model, "decoder")
        with pytest.raises(ValueError, match="name at least one part of the model: 'encoder', 'decoder', 'head'"):
            action(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.train().head.training


class Staged(nn.Module):
    """An encoder of one child with a stem, a list of blocks and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Module()
        inner.position = nn.Parameter(torch.zeros(3))
        inner.stem = nn.Conv2d(3, 4, 1)
        inner.act = nn.ReLU()
        inner.blocks = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])
        self.encoder = nn.Sequential(inner)
        self.head = nn.Conv2d(4, 2, 1)


def test_encoder_layers_go_from_the_image_on() -> None:
    """A single child is looked into, lists count block by block, and what belongs to no child comes first."""
    model = Staged()

    layers = encoder_layers(model)

    assert list(layers) == ["encoder.0", "encoder.0.stem", "encoder.0.blocks.0", "encoder.0.blocks.1"]
    found = [parameter for layer in layers.values() for parameter in layer]
    assert {id(parameter) for parameter in found} == {id(parameter) for parameter in model.encoder.parameters()}
    assert len(found) == len({id(parameter) for parameter in found})


def test_shared_parameters_belong_to_the_first_layer() -> None:
    """An optimizer takes each parameter once."""
    model = nn.Module()
    model.encoder = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model.encoder[1].weight = model.encoder[0].weight

    layers = encoder_layers(model)

    assert [len(parameters) for parameters in layers.values()] == [2, 1]
