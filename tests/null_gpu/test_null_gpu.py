"""CUDA code runs on a machine without a GPU: the tests in ``inside``, each file in a process under the null GPU.

``python tests/null_gpu/run.py python -m pytest tests/null_gpu/inside`` runs them by hand.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INSIDE = sorted((HERE / "inside").glob("test_*.py"))
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


def check(path: Path, marks: str) -> None:
    """Run a file's tests, all of which must run and pass; a failure shows the name of each and what it printed."""
    done = run("-m", "pytest", "-v", "--tb=short", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", marks, str(path))
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout), done.stdout
    assert not re.search(r"\d+ (skipped|xfailed|xpassed)", done.stdout), done.stdout


@pytest.mark.parametrize("path", INSIDE, ids=lambda path: path.stem)
def test_on_the_null_gpu(path: Path) -> None:
    """All tests of the file hold."""
    check(path, "not slow")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in INSIDE if "mark.slow" in path.read_text()], ids=lambda path: path.stem
)
def test_at_length_on_the_null_gpu(path: Path) -> None:
    """All slow tests of the file hold."""
    check(path, "slow")
