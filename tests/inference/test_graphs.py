"""Recordings replay what was recorded, and are made of shapes that come back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from segzoo.inference import graphs
from segzoo.inference.graphs import GRAPHS, Graphed

CPU = torch.device("cpu")


class FakeRecording:
    """Runs the network in each replay, and counts recordings and replays by height."""

    made: list[int]
    replayed: list[int]

    def __init__(self, score: Callable[[Tensor], Tensor], images: Tensor) -> None:
        self._score, self.images = score, images
        self.made.append(images.shape[-2])
        self._logits = score(images)

    def replay(self) -> Tensor:
        """Overwrite the logits."""
        self.replayed.append(self.images.shape[-2])
        return self._logits.copy_(self._score(self.images))


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> type[FakeRecording]:
    """Let graphs be recorded without a GPU."""
    FakeRecording.made, FakeRecording.replayed = [], []
    monkeypatch.setattr(graphs, "Recording", FakeRecording)
    return FakeRecording


def images(height: int, value: int) -> Tensor:
    """Return one image of a single value."""
    return torch.full((1, 3, height, 8), value, dtype=torch.uint8)


def test_a_shape_is_recorded_when_it_is_met_again(recordings: type[FakeRecording]) -> None:
    """The first time it is scored without a recording; results are copies of their own."""
    graphed = Graphed(lambda given: given.float() + 1, CPU)
    assert float(graphed(images(8, 1)).mean()) == 2
    assert recordings.made == []
    second = graphed(images(8, 2))
    third = graphed(images(8, 3))
    assert (recordings.made, recordings.replayed) == ([8], [8, 8])
    assert (float(second.mean()), float(third.mean())) == (3, 4)


def test_a_type_is_another_shape(recordings: type[FakeRecording]) -> None:
    """What was recorded of bytes is not replayed on floats."""
    graphed = Graphed(lambda given: given.float(), CPU)
    for given in (images(8, 1), images(8, 1).float()) * 2:
        graphed(given)
    assert recordings.made == [8, 8]


def test_the_last_few_shapes_are_kept(recordings: type[FakeRecording]) -> None:
    """The one that was not used for longest goes first."""
    graphed = Graphed(lambda given: given.float(), CPU)
    heights = range(8, 8 + GRAPHS)
    for height in (*heights, *heights, 8, 99, 99):
        graphed(images(height, 0))
    assert recordings.made == [*heights, 99]
    graphed(images(8, 0))
    graphed(images(9, 0))
    assert recordings.made == [*heights, 99, 9]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_replay_what_was_recorded() -> None:
    """On a GPU every shape gives the network's logits, before it is recorded and after."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 4, 3, padding=1).cuda().eval()
    graphed = Graphed(lambda given: network(given.float()), torch.device("cuda", torch.cuda.current_device()))
    with torch.inference_mode():
        for size in (32, 40, 32, 48, 40, 56, 64, 48, 32, 32):
            given = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, device="cuda")
            first = graphed(given)
            graphed(255 - given)
            torch.testing.assert_close(first, network(given.float()), rtol=0, atol=1e-2)
