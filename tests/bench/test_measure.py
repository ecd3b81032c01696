"""Every requested batch of a mode ends in an outcome, whatever a model does."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from segzoo.analysis.subject import Subject
from segzoo.bench.clock import Run
from segzoo.bench.measure import Bench, Failure, Figures, Outcome, measure_mode, plan
from segzoo.bench.rows import Mode, Settings
from segzoo.spec import InputSpec


class Clock:
    """A clock on which a call takes 20 ms, or 10 ms in a series."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        """Return the time that the calls took."""
        return self.time

    def latency(self, run: Run) -> float:
        """Call alone."""
        run()
        self.time += 0.02
        return 0.02

    def series(self, run: Run, count: int) -> list[float]:
        """Call ``count`` times."""
        for _ in range(count):
            run()
            self.time += 0.01
        return [0.01] * count


class Meter:
    """A device that takes 100 W."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def joules(self) -> float:
        """Return the energy."""
        return 100 * self._clock.now()


class Net(nn.Module):
    """Scores pixels as ``answer`` says."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to ``(N, 2, H, W)``."""
        return self.answer(image)


def sound(image: Tensor) -> Tensor:
    """Return two channels of the image."""
    return image[:, :2]


def room_for(images: int) -> Callable[[Tensor], Tensor]:
    """Return an answer for which the memory has room up to this many images."""

    def answer(image: Tensor) -> Tensor:
        if len(image) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot")
        return sound(image)

    return answer


def outcomes(
    answer: Callable[[Tensor], Tensor], mode: Mode = "eager", *, metered: bool = False, **settings: object
) -> list[Outcome]:
    """Return what becomes of a mode at batches 4 and 2, with a fake clock."""
    given = {"size": (8, 12), "batches": (4, 2), "modes": (mode,), **settings}
    subject = Subject("acme/net", Net(answer).eval(), 2, 3, InputSpec(min_size=8))
    clock = Clock()
    meter = Meter(clock) if metered else None
    bench = Bench(subject, torch.device("cpu"), clock, Settings.model_validate(given), meter, 40.0)
    return list(measure_mode(bench, mode))


def summary(found: list[Outcome]) -> list[tuple[str, int, object]]:
    """Return kind, requested batch, and effective batch or status of each outcome."""
    return [
        (each.kind, each.batch_size, each.found.batch if isinstance(each.found, Figures) else each.found.status)
        for each in found
    ]


def errors(found: list[Outcome]) -> set[str]:
    """Return what was said of all that failed."""
    return {each.found.error for each in found if isinstance(each.found, Failure)}


@pytest.mark.parametrize(
    ("mode", "batches", "steps"),
    [
        ("eager", (), [(1, ["latency"])]),
        ("bf16", (8, 1, 8), [(1, ["latency", "throughput"]), (8, ["throughput"])]),
        ("graph", (4, 2), [(1, ["graph"]), (2, ["throughput"]), (4, ["throughput"])]),
    ],
)
def test_the_plan(mode: Mode, batches: tuple[int, ...], steps: list[tuple[int, list[str]]]) -> None:
    """Batches go up, each once; the latency is that of one image, whether or not the ladder has it."""
    assert plan(mode, batches) == steps


def test_all_figures_of_a_sound_model() -> None:
    """Latencies are taken alone and throughput back to back, both until they have converged."""
    found = outcomes(sound)
    assert summary(found) == [("latency", 1, 1), ("throughput", 2, 2), ("throughput", 4, 4)]
    figures = [each.found for each in found if isinstance(each.found, Figures)]
    assert [each.timing.median for each in figures] == [0.02, 0.01, 0.01]
    assert all(each.timing.converged for each in figures)
    assert all(each.joules is None and each.compile_seconds is None for each in figures)
    assert all(each.started.endswith("+00:00") for each in found)


@pytest.mark.parametrize("room", [4, 3])
def test_energy_is_measured_once_in_a_mode(room: int) -> None:
    """Only the largest batch has it, or what fits of it; 60 W above idle for 10 ms are shared by its images."""
    joules = [each.found.joules for each in outcomes(room_for(room), metered=True) if isinstance(each.found, Figures)]
    assert joules[:2] == [None, None]
    assert joules[2] == pytest.approx(60 * 0.01 / room)


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (3, [("latency", 1, 1), ("throughput", 2, 2), ("throughput", 4, 3)]),
        (1, [("latency", 1, 1), ("throughput", 2, 1), ("throughput", 4, 1)]),
        (0, [("latency", 1, "oom"), ("throughput", 2, "oom"), ("throughput", 4, "oom")]),
    ],
)
def test_batches_shrink_to_what_fits(room: int, expected: list[tuple[str, int, object]]) -> None:
    """A row tells the batch that was asked for and the one that fitted; where none does, why."""
    found = outcomes(room_for(room))
    assert summary(found) == expected
    assert errors(found) == (set() if room else {"OutOfMemoryError: CUDA out of memory. Tried to allocate a lot"})


def test_what_did_not_fit_is_not_tried_again() -> None:
    """Once a batch was too large, larger requests begin at what fitted, and end where one image does not fit."""
    tried: list[int] = []

    def answer(image: Tensor) -> Tensor:
        tried.append(len(image))
        return room_for(1)(image)

    outcomes(answer)
    assert [size for size, _ in itertools.groupby(tried)] == [1, 2, 1]


def test_a_model_that_raises_has_crashed() -> None:
    """Its error is in the row, and other batches are measured all the same."""

    def answer(image: Tensor) -> Tensor:
        if len(image) == 2:
            raise KeyError("pairs are not served\nor so")
        return sound(image)

    found = outcomes(answer)
    assert summary(found) == [("latency", 1, 1), ("throughput", 2, "crash"), ("throughput", 4, 4)]
    assert errors(found) == {"KeyError: 'pairs are not served\\nor so'"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda image: image, "ValueError: expected logits (1, 2, 8, 12) for images (1, 3, 8, 12), got (1, 3, 8, 12)"),
        (lambda image: sound(image) / 0, "ValueError: 192 of 192 logits are not finite"),
    ],
)
def test_wrong_logits_are_not_timed(answer: Callable[[Tensor], Tensor], error: str) -> None:
    """Another shape or infinite values end the measurement before a sample is taken."""
    found = outcomes(answer, batches=())
    assert summary(found) == [("latency", 1, "crash")]
    assert errors(found) == {error}


@pytest.mark.parametrize(
    ("mode", "settings", "error"),
    [
        ("graph", {}, "CUDA graphs need a CUDA device, got cpu"),
        ("eager", {"size": (7, 12)}, "takes images of at least 8x8 pixels, got 7x12"),
    ],
)
def test_what_cannot_be_is_unsupported(mode: Mode, settings: dict[str, object], error: str) -> None:
    """Every row that was asked for is there, with the reason; the model is not even called."""
    called: list[Tensor] = []
    found = outcomes(lambda image: (called.append(image), sound(image))[1], mode, **settings)
    assert {outcome for _, _, outcome in summary(found)} == {"unsupported"}
    assert len(found) == 3
    assert errors(found) == {error}
    assert called == []


def test_a_way_that_a_model_lacks_is_unsupported() -> None:
    """A model that runs in float32 only is no broken model, and is not tried again with more images."""
    tried: list[torch.dtype] = []

    def answer(image: Tensor) -> Tensor:
        tried.append(image.dtype)
        if image.dtype != torch.float32:
            raise RuntimeError("not implemented for 'BFloat16'")
        return sound(image)

    found = outcomes(answer, "bf16")
    assert {outcome for _, _, outcome in summary(found)} == {"unsupported"}
    assert errors(found) == {"RuntimeError: not implemented for 'BFloat16'"}
    assert tried == [torch.bfloat16, torch.float32]


def test_a_broken_model_is_no_missing_ability() -> None:
    """A model that fails in every way has crashed, in whichever mode it is run."""

    def answer(image: Tensor) -> Tensor:
        raise RuntimeError("I am broken")

    found = outcomes(answer, "channels_last")
    assert {outcome for _, _, outcome in summary(found)} == {"crash"}
    assert errors(found) == {"RuntimeError: I am broken"}
