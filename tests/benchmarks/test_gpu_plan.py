"""The command refuses what it cannot do, and lists its plan without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gpu.table import PARTS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_plan.py"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--parts", "latency,zo"), "--parts must be among environment, fast_scnn, "),
        (("--parts", "latency,zo"), ", got 'zo'"),
        (("--again", "zo"), "--again must be among environment, "),
        (("--parts", "latency", "--again", "tests"), "--again tests does nothing: --parts leaves it out"),
        (("--parts", ","), "--parts names no part"),
        (("--minutes", "0"), "--minutes must be above 0, got 0"),
        (("--minutes", "nan"), "--minutes must be above 0, got nan"),
        (("--tiny",), "--tiny needs --out"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str) -> None:
    """A wrong option is reported with its value."""
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_ends_with_3(tmp_path: Path) -> None:
    """Nothing is measured or written, and what is there is reported."""
    done = run("--out", str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (3, "")
    assert "the plan needs a GPU: the device 'cuda' is not here; there is " in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_dry_run_needs_no_torch(tmp_path: Path) -> None:
    """All parts are listed in their order, with torch broken, and nothing is written."""
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')\n")
    done = run("--dry-run", "--out", str(tmp_path / "out"), PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    named = [line.split()[0] for line in done.stdout.splitlines() if line[0] != " "][:-1]
    assert named == [part.name for part in PARTS]
    assert "--camvid FOLDER names the folder of CamVid" in done.stdout
    assert not (tmp_path / "out").exists()


def test_the_dry_run_shows_what_is_done(tmp_path: Path) -> None:
    """A part with a result has its status; chosen parts alone are listed."""
    result = {"part": "latency", "status": "failed", "figures": [], "commands": []}
    (tmp_path / "latency.json").write_text(json.dumps(result))
    done = run("--dry-run", "--parts", "latency,agreement", "--out", str(tmp_path))
    states = [line.split()[-1] for line in done.stdout.splitlines() if line[0] != " "][:-1]
    assert states == ["failed", "do"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """The file that is no result is named."""
    (tmp_path / "latency.json").write_text("{}")
    done = run("--dry-run", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "latency.json is no result of this plan" in done.stderr
