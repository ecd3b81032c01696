"""Every parameter belongs to exactly one part."""

from __future__ import annotations

import torch
from torch import nn

from segzoo.build import create_model
from segzoo.transfer import parameter_groups


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
