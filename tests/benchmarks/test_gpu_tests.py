"""Tests marked ``gpu`` are run without further plugins, and their outcomes kept one by one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gpu_tests

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_tests.py"
CODE = """
import pathlib
import pytest

pytestmark = pytest.mark.gpu

def test_good():
    with (pathlib.Path(__file__).parent / "runs").open("a") as file:
        file.write("x")

def test_bad():
    raise ValueError("why it fails")

def test_skipped():
    pytest.skip("why it is skipped")

@pytest.fixture
def broken():
    yield
    raise ValueError("torn down badly")

def test_teardown(broken):
    pass
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


def test_outcomes_are_kept_and_passed_tests_left_out(tmp_path: Path) -> None:
    """Failures are outcomes, with their messages; the second run repeats all but what passed."""
    (tmp_path / "test_some.py").write_text(CODE)
    out = tmp_path / "out.json"
    for _ in range(2):
        done = run(str(tmp_path / "test_some.py"), "--out", str(out))
        assert done.returncode == 0, done.stdout + done.stderr
        found = {name.rpartition("::")[2]: each for name, each in json.loads(out.read_text())["tests"].items()}
        assert {name: each["outcome"] for name, each in found.items()} == {
            "test_good": "passed",
            "test_bad": "failed",
            "test_skipped": "skipped",
            "test_teardown": "failed",
        }
        assert "why it fails" in found["test_bad"]["message"]
        assert "why it is skipped" in found["test_skipped"]["message"]
    assert (tmp_path / "runs").read_text() == "x"


def test_a_file_that_cannot_be_collected_fails(tmp_path: Path) -> None:
    """It is an outcome of its own, and the other file's tests run."""
    (tmp_path / "test_broken.py").write_text("import no_such_module\n")
    (tmp_path / "test_fine.py").write_text("import pytest\n@pytest.mark.gpu\ndef test_it(): pass\n")
    out = tmp_path / "out.json"
    run(str(tmp_path / "test_broken.py"), str(tmp_path / "test_fine.py"), "--out", str(out))
    found = json.loads(out.read_text())["tests"]
    assert sorted(each["outcome"] for each in found.values()) == ["failed", "passed"]


def test_without_a_marked_test_it_fails(tmp_path: Path) -> None:
    """Nothing that ran is no success."""
    (tmp_path / "test_other.py").write_text("def test_it(): pass\n")
    done = run(str(tmp_path / "test_other.py"))
    assert done.returncode == 1
    assert "no test marked gpu was found" in done.stderr


def test_all_marked_files_are_found() -> None:
    """Files with the mark are chosen; this one, which only writes it into another, may be among them."""
    names = {path.relative_to(gpu_tests.ROOT / "tests").as_posix() for path in gpu_tests.files()}
    assert {"training/test_gpu.py", "bench/test_clock.py", "inference/test_fast.py"} <= names
    assert "test_layers.py" not in names
