"""A command ends by itself, by SIGTERM when its time is up, or by SIGKILL when it ignores that."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from gpu.part import ROOT
from gpu.process import Stopped, environment, last_words, run, stop_on_signals

LONG = 60.0


def python(code: str) -> list[str]:
    """Return a command that runs code."""
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_exit_code_and_the_output_are_kept(tmp_path: Path) -> None:
    """Both streams go to the log, after the command and after what was there."""
    log = tmp_path / "log"
    log.write_text("before\n")
    words = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert run(words, log, seconds=LONG) == 7
    lines = log.read_text().splitlines()
    assert (lines[0], sorted(lines[-2:])) == ("before", ["err", "out"])
    assert lines[1].startswith(f"$ {sys.executable} -c")


def test_sigterm_lets_a_command_save(tmp_path: Path) -> None:
    """At its limit a command gets SIGTERM, and time to write."""
    code = (
        "import signal, sys, time, pathlib\n"
        f"def save(*_): pathlib.Path({str(tmp_path / 'saved')!r}).touch(); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    assert run(python(code), tmp_path / "log", seconds=2.0, grace=LONG) is None
    assert (tmp_path / "saved").exists()


def test_what_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    """After the grace nothing of the command's group is left."""
    code = (
        "import os, signal, subprocess, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'pids')!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n"
    )
    assert run(python(code), tmp_path / "log", seconds=2.0, grace=0.1) is None
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    deadline = time.monotonic() + LONG
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(pids) == 2
    assert not any(map(alive, pids))


def test_a_signal_stops_the_command(tmp_path: Path) -> None:
    """The signal is raised as what it is, after the command has ended, and handlers are those of before."""
    before = signal.getsignal(signal.SIGTERM)
    code = (
        "import os, pathlib, signal, time\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        f"os.kill({os.getpid()}, signal.SIGTERM)\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(Stopped, match="stopped by SIGTERM"), stop_on_signals():
        run(python(code), tmp_path / "log", seconds=LONG, grace=LONG)
    assert not alive(int((tmp_path / "pid").read_text()))
    assert signal.getsignal(signal.SIGTERM) is before


def test_commands_find_the_checkout_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The root comes before what PYTHONPATH held, which stays; an empty one adds no current directory."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert environment()["PYTHONPATH"] == f"{ROOT}{os.pathsep}{tmp_path}"
    monkeypatch.setenv("PYTHONPATH", "")
    assert environment()["PYTHONPATH"] == str(ROOT)


def test_the_last_words_of_a_log(tmp_path: Path) -> None:
    """Empty lines say nothing, and a log that is not there neither."""
    log = tmp_path / "log"
    assert last_words(log) == []
    log.write_text("one\ntwo\n\nthree  \n\n")
    assert last_words(log) == ["three"]
    assert last_words(log, 2) == ["two", "three"]
