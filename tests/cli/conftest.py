"""Running commands as a user would, in this process or in one of its own."""

from __future__ import annotations

import logging
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from segzoo.cli import app
from segzoo.plugins import default_registry


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """Return a function that runs a command in an empty folder, and undo what the command does to logging."""
    handlers, level = logging.root.handlers[:], logging.root.level
    for setting in ("SEGZOO_PLUGINS", "SEGZOO_STRICT_PLUGINS"):
        monkeypatch.delenv(setting, raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    default_registry.cache_clear()
    yield lambda *words: CliRunner().invoke(app, list(words))
    default_registry.cache_clear()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("segzoo").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run of two steps."""
    from segzoo import finetune, load_recipe

    data = ("data.size=[32,32]", "data.image_size=[32,32]", 'data.counts={"train":4,"val":2}')
    recipe = load_recipe("quickstart", [*data, "train.max_steps=2", "train.batch_size=2", "train.threads=1"])
    return finetune(recipe, out=tmp_path_factory.mktemp("runs") / "run", device="cpu").folder


@pytest.fixture
def trained(run: Callable[..., Result], trained_once: Path) -> str:
    """Return the name of a run of its own in the folder where commands run."""
    shutil.copytree(trained_once, "run")
    return "run"


@pytest.fixture
def refused(run: Callable[..., Result]) -> Callable[..., str]:
    """Return a function that runs a command which must fail with one message, and returns the message."""

    def invoke(*words: str, code: int = 2) -> str:
        result = run(*words)
        assert result.exit_code == code, result.stderr
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        before, found, message = re.split(r"^([eE]rror: )", result.stderr, flags=re.MULTILINE)
        assert before == "" if found == "error: " else before.startswith("Usage: ")
        return message.rstrip("\n")

    return invoke


@pytest.fixture
def terminal(tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs a command on a terminal of its own, and returns all that appears there."""

    def invoke(*words: str, **environment: str) -> str:
        ours, theirs = pty.openpty()
        settings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **environment}
        if "NO_COLOR" not in environment:
            settings.pop("NO_COLOR", None)
        command = [sys.executable, "-m", "segzoo", *words]
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=settings, cwd=tmp_path):
            os.close(theirs)
            shown = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
        return shown.decode()

    return invoke


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # how Linux says that the other end is closed
        return b""
