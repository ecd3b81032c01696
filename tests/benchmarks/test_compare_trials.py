"""Trials of the comparison are measured, counted and written."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "compare_trials.py"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


def test_a_slowed_call_takes_its_share_longer() -> None:
    """Alone or in a series, the time that is added is a share of what the call took."""
    clock = runpy.run_path(str(SCRIPT))["SlowedClock"](0.5)
    times = [clock.latency(lambda: time.sleep(0.01)), *clock.series(lambda: time.sleep(0.01), 2)]
    assert len(times) == 3
    assert all(seconds >= 0.015 for seconds in times)


def test_one_result_cannot_be_compared() -> None:
    """A number of rounds without a pair is refused with its value."""
    done = run("--rounds", "1")
    assert done.returncode == 2
    assert "--rounds must be at least 2, got 1" in done.stderr


@pytest.mark.slow
def test_trials_in_short(tmp_path: Path) -> None:
    """Two rounds of a model are a trial; what is printed and the exit code agree with the file."""
    done = run("--rounds", "2", "--models", "fast_scnn", "--out", str(tmp_path / "out.json"))
    found = json.loads((tmp_path / "out.json").read_text())
    trial, planted = found["comparisons"]
    wrong, missed = trial["verdict"] in ("SLOWER", "FASTER"), planted["verdict"] != "SLOWER"
    assert done.stdout.splitlines()[-2].startswith(f"{wrong:d} of 1 trials without a difference find one")
    assert done.stdout.splitlines()[-1] == f"{not missed:d} of 1 slow-downs by 15% are found"
    assert done.returncode == (wrong or missed), done.stderr
    # Whether the slow-down is found depends on what else the machine does.
    assert (trial["slowed"], planted["slowed"]) == (False, True)
