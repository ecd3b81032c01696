"""The script that measures on a GPU refuses what it cannot do, and reckons with rows as they are written."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from segzoo.bench.rows import Row, Settings

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_sweep.py"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


@pytest.fixture
def measured() -> Callable[..., Row]:
    """Return a function that makes a row of one image."""

    def make(model: str, mode: str, milliseconds: float) -> Row:
        fields = {"input": (3, 8, 8), "device": "cuda", "kind": "graph" if mode == "graph" else "latency"}
        known = {"batch_size": 1, "effective_batch": 1, "status": "ok", "repeat": 0, "settings": Settings()}
        moment = {"environment": {}, "environment_key": "a", "started": "2026-01-01T00:00:00+00:00"}
        return Row.model_validate(
            {"model": model, "mode": mode, "latency_ms": milliseconds, **fields, **known, **moment}
        )

    return make


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--parts", "best,zo"), "--parts must be among zoo, best, agreement, got 'zo'"),
        (("--out", "not/there"), "--out must be a folder, got 'not/there'"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str) -> None:
    """A wrong option is told with its value."""
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_ends_with_3(tmp_path: Path) -> None:
    """Nothing is measured or written, and what is there is told."""
    done = run("--out", str(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert "the device 'cuda' is not here; there is " in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_gain_needs_both_modes(measured: Callable[..., Row]) -> None:
    """The gain is eager over best of one image; a model that failed in either has none."""
    script = runpy.run_path(str(SCRIPT))
    rows = [measured("x/a", "eager", 4.0), measured("x/a", "graph", 2.0), measured("x/a", "best", 1.0)]
    rows.append(measured("x/b", "eager", 1.0))
    assert script["gains"](rows) == {"x/a": 4.0}
    assert script["latencies"](rows) == {"x/a": {"eager": 4.0, "graph": 2.0, "best": 1.0}, "x/b": {"eager": 1.0}}


def test_clocks_agree_within_two_per_cent() -> None:
    """The tolerance is a share of the other clock's time."""
    agree = runpy.run_path(str(SCRIPT))["agree"]
    assert [agree(one, 100.0) for one in (97.9, 98.1, 101.9, 102.1)] == [False, True, True, False]


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_the_clocks_of_a_gpu_are_held_against_each_other(tmp_path: Path) -> None:
    """All four models have figures of both clocks, and the exit code says whether they agree."""
    done = run("--parts", "agreement", "--out", str(tmp_path))
    assert done.returncode in (0, 1), done.stderr
    assert len(done.stdout.splitlines()) == 8
    assert (tmp_path / "gpu_agreement.json").is_file()
