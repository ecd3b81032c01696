"""The fastest way to run a network is looked for among those that say the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from segzoo.data.normalise import Normalise
from segzoo.inference import fast
from segzoo.inference.fast import Graphed, fastest, smooth_noise
from segzoo.training.evaluation import Predictor as Network


def network(device: str = "cpu") -> Network:
    """Return a small network."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1)).eval().to(device)
    normalise = Normalise((0.5,) * 3, (0.25,) * 3).to(device)
    return Network(model, normalise, device=torch.device(device), dtype=None, channels_last=False)


def variants(*scores: tuple[str, Callable[[Tensor], Tensor]]) -> Callable[[Network], object]:
    """Return a list of ways to run a network."""
    return lambda network: [(name, lambda score=score: score) for name, score in scores]


@pytest.fixture
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first way to run take a second, and every other half of that."""
    seen: list[object] = []

    def seconds(score: object, example: Tensor) -> float:
        seen.append(score)
        return 1.0 if len(seen) == 1 else 0.5

    monkeypatch.setattr(fast, "_seconds", seconds)


@pytest.mark.usefixtures("no_clock")
def test_a_faster_one_that_says_the_same_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parity comes first: what is fast and wrong, gives NaN or fails is left out."""
    own = network()
    example = smooth_noise((1, 3, 32, 32))

    def breaks(images: Tensor) -> Tensor:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(
        fast,
        "_variants",
        variants(
            ("wrong", lambda images: -own.logits(images)),
            ("nan", lambda images: own.logits(images) * torch.nan),
            ("broken", breaks),
            ("good", lambda images: own.logits(images) + 1),  # the same probabilities
            ("as fast", own.logits),
        ),
    )
    name, score = fastest(own, example)
    assert name == "good"
    assert torch.equal(score(example), own.logits(example) + 1)


@pytest.mark.usefixtures("no_clock")
def test_without_a_match_the_network_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing says the same, nothing changes."""
    own = network()
    monkeypatch.setattr(fast, "_variants", variants(("wrong", lambda images: -own.logits(images))))
    assert fastest(own, smooth_noise((1, 3, 32, 32)))[0] == "eager"


def test_slow_networks_are_not_tried(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One pass that takes too long ends the search, and that is said."""
    monkeypatch.setattr(fast, "PATIENCE", -1.0)
    with caplog.at_level("INFO", logger="segzoo"):
        name, _ = fastest(network(), smooth_noise((1, 3, 32, 32)))
    assert name == "eager"
    assert "too long for trying out others" in caplog.text


def test_the_cpu_tries_the_layout_of_memory() -> None:
    """Channels last is computed by a copy; the network that was given keeps its layout."""
    own = network()
    example = smooth_noise((2, 3, 40, 24))
    ((name, build),) = fast._variants(own)
    assert name == "channels_last"
    with torch.inference_mode():
        assert torch.allclose(build()(example), own.logits(example), atol=1e-5)
    assert own.model[0].weight.is_contiguous()


def test_examples_are_pictures() -> None:
    """They have all levels, neighbours are alike, and each call gives the same."""
    example = smooth_noise((2, 3, 64, 48))
    assert example.shape == (2, 3, 64, 48)
    assert example.dtype == torch.uint8
    assert torch.equal(example, smooth_noise((2, 3, 64, 48)))
    assert example.float().std() > 2 * (example[..., 1:].float() - example[..., :-1].float()).std()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_replay_what_was_recorded() -> None:
    """Each size has its own recording, old ones are dropped, and results are copies of their own."""
    own = network("cuda")
    graphed = Graphed(own.logits, own.device)
    with torch.inference_mode():
        for size in (32, 40, 48, 56, 64, 32):
            images = smooth_noise((1, 3, size, size), seed=size)
            first = graphed(images)
            graphed(255 - images)
            assert torch.allclose(first, own.logits(images), atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_something_faster() -> None:
    """On a GPU a faster variant passes the comparison."""
    own = network("cuda")
    name, score = fastest(own, smooth_noise((1, 3, 64, 64)).cuda())
    assert name != "eager"
    with torch.inference_mode():
        images = smooth_noise((2, 3, 96, 64), seed=3)
        assert (score(images).argmax(1) != own.logits(images).argmax(1)).float().mean() < 0.02
