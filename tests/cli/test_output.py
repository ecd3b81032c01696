"""Drawn on a terminal, plain everywhere else."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import Result

from segzoo.cli.output import plain, print_rows, print_table

ESCAPE = "\x1b["


def test_terminal_gets_tables_and_boxes(terminal: Callable[..., str]) -> None:
    """A person at a terminal sees rich's tables and help."""
    assert "┃" in terminal("list", "segzoo/*")
    assert "╭" in terminal("--help")


def test_errors_on_a_terminal_are_red(terminal: Callable[..., str]) -> None:
    """The message stands out, and is still one message."""
    shown = terminal("show", "segnt")
    assert shown.startswith(f"{ESCAPE}31merror: no model named 'segnt'.")
    assert "Traceback" not in shown


@pytest.mark.parametrize("words", [["list", "segzoo/*"], ["--help"], ["show", "segnt"], ["recipe", "valdate"]])
def test_no_color_is_plain_on_a_terminal(terminal: Callable[..., str], words: list[str]) -> None:
    """``NO_COLOR`` takes boxes away, too."""
    shown = terminal(*words, NO_COLOR="1")
    assert len(shown) > 10
    assert ESCAPE not in shown
    assert not set("┃╭│━") & set(shown)


@pytest.mark.parametrize("words", [["list"], ["--help"], ["show", "segnet"], ["show", "segnt"], ["recipe", "valdate"]])
def test_piped_output_is_plain(run: Callable[..., Result], words: list[str]) -> None:
    """A program that reads along meets text."""
    result = run(*words)
    assert len(result.output) > 10
    assert ESCAPE not in result.output
    assert not set("┃╭│━") & set(result.output)


def test_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a terminal that can draw, with nobody objecting, gets colour."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not plain(Terminal())
    assert plain(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert plain(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert plain(Terminal())
    assert plain(None)


def test_table_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are as wide as their widest cell, a cell is one line, nothing trails."""
    print_table(("name", "b"), [("x", "two\nlines  and\ttabs"), ("longer", "")])
    assert capsys.readouterr().out == "name    b\nx       two lines and tabs\nlonger\n"


def test_table_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """The header stands alone."""
    print_table(("name", "value"), [])
    assert capsys.readouterr().out == "name  value\n"


def test_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get the version of the shape, then the rows; letters stay letters."""
    print_rows([{"name": "Ü", "value": None}])
    out = capsys.readouterr().out
    assert json.loads(out) == {"schema_version": 1, "rows": [{"name": "Ü", "value": None}]}
    assert "Ü" in out


@pytest.mark.parametrize("words", [["list"], ["env"], ["show", "smp_unet", "--encoders"], ["--version"], ["--help"]])
def test_a_reader_that_has_seen_enough(words: list[str]) -> None:
    """Where the pipe is closed, as `head` does, every command ends as other tools do, and says nothing."""
    command = [sys.executable, "-m", "segzoo", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        complaint = running.stderr.read()
    assert (running.returncode, complaint) == (128 + signal.SIGPIPE, b"")


def test_another_broken_pipe_is_told() -> None:
    """A worker that is gone is a fault: it must not pass for a reader that has seen enough."""
    code = """
from segzoo.cli import app, env

def collect():
    raise BrokenPipeError(32, "Broken pipe")

env.collect = collect
app(["env"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: [Errno 32] Broken pipe\n")


@pytest.mark.parametrize("words", ["list --json", "list", "--version"])
def test_stdout_that_is_closed_from_the_start(words: str) -> None:
    """There is nowhere to print to, and that is all."""
    command = f"{sys.executable} -m segzoo {words} >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
