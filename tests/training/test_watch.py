"""The loss is watched without being read at every step."""

from __future__ import annotations

import math

import torch
from torch import nn

from segzoo.training.watch import LossWatch, weights_are_finite


def test_adds_up_and_remembers_the_first_bad_step() -> None:
    """Later faults do not hide the first, and a new epoch does not forget it."""
    watch = LossWatch(torch.device("cpu"))
    for step, loss in enumerate([0.5, 1.5]):
        watch.add(torch.tensor(loss), step)
    assert (watch.total, watch.first_bad) == (2.0, None)

    for step, loss in enumerate([math.nan, 1.0, math.inf], start=2):
        watch.add(torch.tensor(loss), step)
    assert watch.first_bad == 2
    watch.reset(1.25)
    assert (watch.total, watch.first_bad) == (1.25, 2)


def test_weights_and_buffers_are_looked_at() -> None:
    """A batch norm whose statistics are lost is as bad as a lost weight."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    assert weights_are_finite(model)
    model[1].running_var.fill_(math.inf)
    assert not weights_are_finite(model)
