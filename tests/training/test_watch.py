"""The loss is watched without being read at every step."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import nn

from segzoo.training.watch import LossWatch, Mark, weights_are_finite


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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_bad_weight_is_enough(value: float, dtype: torch.dtype) -> None:
    """It is found among many, in every type, while numbers that a sum would overflow are no fault."""
    model = nn.Linear(300, 300).to(dtype)
    model.weight.data.fill_(3e38)
    model.register_buffer("counter", torch.zeros((), dtype=torch.int64))
    model.register_buffer("empty", torch.zeros(0))
    assert weights_are_finite(model)
    model.weight.data[7, 11] = value
    assert not weights_are_finite(model)


def test_sum_and_first_bad_step_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading waits for a GPU: there is one until the next loss."""
    read: list[torch.Tensor] = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: read.append(tensor) or tolist(tensor))
    watch = LossWatch(torch.device("cpu"))
    watch.add(torch.tensor(0.5), 0)
    assert (watch.total, watch.first_bad, watch.total) == (0.5, None, 0.5)
    assert len(read) == 1
    watch.add(torch.tensor(math.nan), 1)
    assert watch.first_bad == 1
    assert len(read) == 2


def test_a_mark_on_the_cpu_is_the_time_that_it_was_made() -> None:
    """The CPU is where its work is, so that nothing is waited for."""
    before = time.perf_counter()
    mark = Mark(torch.device("cpu"))
    after = time.perf_counter()
    assert before <= mark.time() <= after
