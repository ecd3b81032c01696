"""CUDA code runs on a machine without a GPU: the tests in ``inside``, in one process under the null GPU.

One process, as importing everything takes longer than most files. CONTRIBUTING.md shows how to run a file by hand.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
UNAVAILABLE = 77
"""The exit code of ``run.py`` where there is no compiler, or no torch for CUDA."""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command under a null GPU of two devices."""
    return subprocess.run(
        [sys.executable, str(HERE / "run.py"), sys.executable, *command],
        env=os.environ | {"NULL_GPU_COUNT": "2", "PYTHONPATH": str(HERE.parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def _available() -> None:
    """Build the stand-in; skip where that cannot be done."""
    done = run("-c", "")
    if done.returncode == UNAVAILABLE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("marks", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_on_the_null_gpu(marks: str) -> None:
    """All tests inside run and pass; a failure shows the name of each and what it printed."""
    options = ("-v", "--tb=short", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", marks)
    done = run("-m", "pytest", *options, str(HERE / "inside"))
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout), done.stdout
    assert not re.search(r"\d+ (skipped|xfailed|xpassed)", done.stdout), done.stdout
