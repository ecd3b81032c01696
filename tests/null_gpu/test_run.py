"""``run.py`` refuses what it cannot run before it builds or starts anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start ``run.py`` with a command and some environment variables."""
    return subprocess.run(
        [sys.executable, str(HERE / "run.py"), *command],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_is_needed() -> None:
    """Without a command the usage is shown."""
    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"usage: python .*run\.py COMMAND\.\.\.\n", done.stderr)


def test_a_command_that_does_not_exist_is_named() -> None:
    """A misspelled command is one message and no traceback."""
    done = run("segzo", "bench")
    assert done.returncode == 1
    assert done.stderr.startswith("no command 'segzo'; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NULL_GPU_COUNT", "two"),
        ("NULL_GPU_COUNT", "-1"),
        ("NULL_GPU_COUNT", "17"),
        ("NULL_GPU_COUNT", ""),
        ("NULL_GPU_MEMORY", "8GiB"),
        ("NULL_GPU_MEMORY", "0"),
    ],
)
def test_a_setting_out_of_range_is_refused(name: str, value: str) -> None:
    """The library would read another number; the message has the variable, its values and what it was."""
    done = run(sys.executable, "-c", "print('started')", **{name: value})
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{name} must be a whole number from \d+ to \d+, got {value!r}\n", done.stderr)


def test_the_range_of_devices_is_that_of_the_sources() -> None:
    """The library would clamp a larger number."""
    most = re.search(r"kMostDevices = (\d+);", (HERE / "stand_in" / "null_gpu.h").read_text())
    assert most is not None
    assert f"from 0 to {most[1]}, got 'x'" in run(sys.executable, NULL_GPU_COUNT="x").stderr


def test_without_a_compiler_it_is_unavailable(tmp_path: Path) -> None:
    """The exit code and the reason are those that ``test_null_gpu.py`` skips with."""
    done = run(sys.executable, "-c", "", PATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (77, "no null GPU: g++ and nm are needed to build it\n")
