"""The fastest way to run a network is looked for among those that give the same labels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from segzoo.data.normalise import Normalise
from segzoo.inference import fast
from segzoo.inference.fast import Choice, choose_way, fastest, prepared, rebuilt, smooth_noise
from segzoo.inference.ways import PLAIN, Way
from segzoo.scoring.evaluation import Network

CPU = torch.device("cpu")
FOLDED = Way(channels_last=True, folded=True)
COMPILED = FOLDED.model_copy(update={"compiled": True})


def network(device: str = "cpu") -> Network:
    """Return a small network."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 1))
    model = nn.Sequential(*layers).eval().to(device)
    normalise = Normalise((0.5,) * 3, (0.25,) * 3).to(device)
    return Network(model, normalise, device=torch.device(device), dtype=None, channels_last=False)


LOGITS = torch.randn(2, 3, 40, 50, generator=torch.Generator().manual_seed(0))


def choice(
    monkeypatch: pytest.MonkeyPatch,
    others: dict[Way, Callable[[], Tensor]],
    seconds: dict[Way, float] | None = None,
    *,
    judged: bool = True,
) -> Choice[Way]:
    """Return the choice among ways whose logits and times are given; those not named give the plain logits."""
    answers = {PLAIN: lambda: LOGITS, FOLDED: lambda: LOGITS, COMPILED: lambda: LOGITS, **others}
    times = {PLAIN: 1.0, FOLDED: 0.5, COMPILED: 0.25, **(seconds or {})}
    asked: list[Way] = []

    def run(way: Way) -> Tensor:
        asked.append(way)
        return answers[way]()

    def measured(call: Callable[[], object], device: torch.device, patience: float) -> float:
        call()
        return times[asked[-1]]

    monkeypatch.setattr(fast, "_seconds", measured)
    return choose_way(lambda way: way, run, device=CPU, judged=judged)


def shifted(share: float, by: float) -> Callable[[], Tensor]:
    """Return logits of which a share of the pixels is moved towards another class."""

    def answer() -> Tensor:
        found = LOGITS.clone()
        found[0, 0].view(-1)[: int(share * found[:, 0].numel())] += by
        return found

    return answer


def fails() -> Tensor:
    """Raise what a compiler might."""
    raise RuntimeError("no kernel\nmore of it")


def test_the_fastest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way that was tried is in the choice, with its time and its differences."""
    found = choice(monkeypatch, {})
    assert (found.way, found.built) == (COMPILED, COMPILED)
    assert [(trial.way, trial.latency_ms, trial.changed) for trial in found.trials] == [
        (PLAIN, 1000.0, 0.0),
        (FOLDED, 500.0, 0.0),
        (COMPILED, 250.0, 0.0),
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (fails, "RuntimeError: no kernel"),
        (lambda: LOGITS * torch.nan, "logits are not finite"),
        (lambda: -LOGITS, "more than 0.2 % of the labels changed"),
        (shifted(0.01, 40.0), "more than 0.2 % of the labels changed"),
        (lambda: 1.5 * LOGITS, "probabilities are more than 0.02 off for more than 0.1 % of the pixels"),
    ],
)
def test_what_fails_or_says_otherwise_is_left_out(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Tensor], reason: str
) -> None:
    """The reason is in the trial, and the next fastest is taken."""
    found = choice(monkeypatch, {COMPILED: answer})
    assert found.way == FOLDED
    assert found.trials[2].refused == reason


@pytest.mark.parametrize("answer", [lambda: LOGITS + 1, shifted(0.0009, 40.0), lambda: LOGITS * 1.001])
def test_small_differences_pass(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Tensor]) -> None:
    """A few pixels may have any difference, and all may have a small one: the largest of any pixel decides nothing."""
    assert choice(monkeypatch, {COMPILED: answer}).way == COMPILED


def test_random_weights_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their labels may change, and by how much is said; values that are not finite are refused all the same."""
    found = choice(monkeypatch, {FOLDED: lambda: -LOGITS, COMPILED: lambda: LOGITS / 0}, judged=False)
    assert found.way == FOLDED
    assert found.trials[1].changed is not None
    assert found.trials[1].changed > 0.5
    assert found.trials[2].refused == "logits are not finite"


def test_without_a_faster_one_the_network_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything else is slower, or refused, nothing changes."""
    found = choice(monkeypatch, {FOLDED: fails}, {COMPILED: 2.0})
    assert (found.way, found.trials[2].refused) == (PLAIN, None)


def test_a_slow_network_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One pass that takes too long ends the search, and that is logged."""
    with caplog.at_level("INFO", logger="segzoo"):
        found = choice(monkeypatch, {}, {PLAIN: 3.0})
    assert (found.way, len(found.trials)) == (PLAIN, 1)
    assert "a pass takes 3.0 s, too long for trying out others" in caplog.text


@pytest.mark.parametrize("way", [Way(precision="bf16"), Way(precision="fp16", channels_last=True, folded=True), FOLDED])
def test_a_network_is_rebuilt_once(way: Way) -> None:
    """A copy has the weights in the way's format and layout; the network itself stays as it is."""
    own = network()
    before = copy.deepcopy(own.model)
    images = own.normalise(smooth_noise((2, 3, 40, 24)))
    model = rebuilt(own.model, way, images)
    weight = model.get_submodule("0").weight
    assert weight.dtype == fast.DTYPES[way.precision]
    assert weight.is_contiguous(memory_format=torch.channels_last) == way.channels_last
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules()) != way.folded
    batch = prepared(images, way)
    assert (batch.dtype, batch.is_contiguous(memory_format=torch.channels_last)) == (weight.dtype, way.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(model(batch).float(), own.model(images), rtol=0, atol=3e-2)
    assert all(torch.equal(*pair) for pair in zip(own.model.parameters(), before.parameters(), strict=True))


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Let compiling give back what it got, and list what that was."""
    compiled: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda score: (compiled.append(score), score)[1])
    return compiled


def test_bytes_are_scored_alike_in_every_way(compiler: list[object]) -> None:
    """On the CPU folding with channels last is tried, then compiled; the result maps bytes to float32 logits."""
    own = network()
    found = fastest(own, smooth_noise((1, 3, 64, 64)))
    assert [trial.way for trial in found.trials] == [PLAIN, FOLDED, COMPILED]
    assert [trial.refused for trial in found.trials] == [None, None, None]
    assert len(compiler) == 1
    images = smooth_noise((2, 3, 40, 24))
    with torch.inference_mode():
        logits = found.built(images)
        torch.testing.assert_close(logits, own.logits(images), rtol=0, atol=1e-5)


def test_times_leave_out_the_first_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The median of five passes counts; a pass beyond the patience is the last."""
    ticks = iter([0, 9, 10, 11, 20, 22, 30, 33, 40, 44, 50, 55])
    monkeypatch.setattr(fast.time, "perf_counter", lambda: next(ticks))
    assert fast._seconds(lambda: None, CPU, 100.0) == 3
    ticks = iter([0, 9, 10, 14])
    assert fast._seconds(lambda: None, CPU, 3.0) == 4


def test_examples_are_pictures() -> None:
    """They have all levels, neighbours are alike, and each call gives the same."""
    example = smooth_noise((2, 3, 64, 48))
    assert example.shape == (2, 3, 64, 48)
    assert example.dtype == torch.uint8
    assert torch.equal(example, smooth_noise((2, 3, 64, 48)))
    assert example.float().std() > 2 * (example[..., 1:].float() - example[..., :-1].float()).std()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_something_faster() -> None:
    """On a GPU a faster way passes the comparison."""
    own = network("cuda:0")
    found = fastest(own, smooth_noise((1, 3, 64, 64)).cuda())
    assert found.way != PLAIN
    with torch.inference_mode():
        images = smooth_noise((2, 3, 96, 64), seed=3)
        assert (found.built(images).argmax(1) != own.logits(images).argmax(1)).float().mean() < 0.02
