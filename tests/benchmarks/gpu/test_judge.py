"""Figures are reckoned from rows and findings as they are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from gpu import judge
from gpu.part import Evidence, Figure, Setup

from segzoo.bench.rows import Row, Settings, append_row


@pytest.fixture
def measured() -> Callable[..., Row]:
    """Return a function that makes a row of one image."""

    def make(model: str, mode: str, milliseconds: float | None, status: str = "ok") -> Row:
        fields = {"input": (3, 8, 8), "device": "cuda", "kind": "graph" if mode == "graph" else "latency"}
        known = {"batch_size": 1, "effective_batch": 1, "status": status, "repeat": 0, "settings": Settings()}
        moment = {"environment": {}, "environment_key": "a", "started": "2026-01-01T00:00:00+00:00"}
        return Row.model_validate(
            {"model": model, "mode": mode, "latency_ms": milliseconds, **fields, **known, **moment}
        )

    return make


def evidence_of(folder: Path, *rows: Row, tiny: bool = False, **found: object) -> Evidence:
    """Return the evidence of a part that left these rows and findings."""
    setup = Setup(folder, tiny=tiny)
    for row in rows:
        append_row(setup.rows("part"), row)
    if found:
        setup.found("part").write_text(json.dumps(found))
    return Evidence(setup, "part")


def test_a_gain_needs_both_modes(measured: Callable[..., Row]) -> None:
    """The gain is eager over best of one image; a model that failed in either has none."""
    rows = [measured("x/a", "eager", 4.0), measured("x/a", "graph", 2.0), measured("x/a", "best", 1.0)]
    rows.append(measured("x/b", "eager", 1.0))
    assert judge.gains(rows) == {"x/a": 4.0}
    assert judge.latencies(rows) == {"x/a": {"eager": 4.0, "graph": 2.0, "best": 1.0}, "x/b": {"eager": 1.0}}


def test_every_goal_of_latency_is_a_figure(tmp_path: Path, measured: Callable[..., Row]) -> None:
    """A model that was not measured misses its goal, except in a tiny plan, which measures fewer."""
    rows = [measured("segzoo/segnet", "eager", 3.0), measured("segzoo/segnet", "best", 1.0)]
    figures = judge.latency(evidence_of(tmp_path, *rows))
    assert {figure.what: figure.met for figure in figures} == {
        "unet_resnet34: best over eager": False,
        "deeplabv3plus_mobilenet_v2: best over eager": False,
        "segnet: best over eager": True,
        "fast_scnn: best over eager": False,
    }
    (tmp_path / "tiny").mkdir()
    tiny = evidence_of(tmp_path / "tiny", *rows, tiny=True)
    assert judge.latency(tiny) == [Figure("segnet: best over eager", 3.0, 2.9)]


def test_unsupported_is_no_failure(tmp_path: Path, measured: Callable[..., Row]) -> None:
    """A crash, a timeout or a lack of memory fails; what a device cannot do is counted apart."""
    statuses = ("ok", "ok", "unsupported", "crash", "oom", "timeout")
    rows = [measured(f"x/{number}", "eager", None, status) for number, status in enumerate(statuses)]
    ok, unsupported, failed = judge.failures(evidence_of(tmp_path, *rows))
    assert (ok.value, unsupported.value, failed.value) == (2, 1, 3)
    assert failed.met is False


def test_no_test_and_no_case_is_no_success(tmp_path: Path) -> None:
    """Where nothing ran, nothing is shown."""
    nothing = evidence_of(tmp_path)
    for figures in (judge.tests(nothing), judge.no_sync(nothing), judge.throughput(nothing), judge.agreement(nothing)):
        assert any(figure.met is False for figure in figures)


def test_outcomes_of_tests_are_counted(tmp_path: Path) -> None:
    """One failure misses the goal."""
    outcomes = ("passed", "passed", "skipped", "failed")
    tests = {f"test_{number}": {"outcome": outcome} for number, outcome in enumerate(outcomes)}
    figures = judge.tests(evidence_of(tmp_path, tests=tests))
    assert [(figure.value, figure.met) for figure in figures] == [(2, True), (1, None), (1, False)]


def test_cases_that_wait_are_counted(tmp_path: Path) -> None:
    """All expected cases have to be there, and none may wait."""
    cases = [{"wait": None}, {"wait": "step.py:1: x.item()"}]
    tried, waiting = judge.no_sync(evidence_of(tmp_path, expected=3, cases=cases))
    assert (tried.value, tried.met, waiting.value, waiting.met) == (2, False, 1, False)
    tried, waiting = judge.no_sync(evidence_of(tmp_path, expected=1, cases=cases[:1]))
    assert (tried.met, waiting.met) == (True, True)


def test_ratios_are_held_against_their_goals(tmp_path: Path) -> None:
    """Both ratios of throughput are figures."""
    figures = judge.throughput(evidence_of(tmp_path, ratios={"step": 0.96, "plain": 2.9}))
    assert [(figure.value, figure.met) for figure in figures] == [(0.96, True), (2.9, False)]


def test_clocks_agree_within_two_per_cent(tmp_path: Path) -> None:
    """A clock without the other's time does not agree."""
    clocks = [{"model": "x/a", "mode": "eager", "difference": each} for each in (0.019, 0.021, None)]
    assert [figure.met for figure in judge.agreement(evidence_of(tmp_path, clocks=clocks))] == [True, False, False]


def test_the_best_epoch_of_a_run_is_reported(tmp_path: Path) -> None:
    """Epochs without a validation have no score; a run without any has none."""
    evidence = evidence_of(tmp_path)
    assert [figure.value for figure in judge.training(evidence)] == [0, None]
    evidence.setup.run("part").mkdir(parents=True)
    lines = [json.dumps({"mean_iou": score}) + "\n" for score in (0.5, None, 0.7, 0.6)]
    (evidence.setup.run("part") / "metrics.jsonl").write_text("".join(lines))
    assert [figure.value for figure in judge.training(evidence)] == [4, 0.7]
