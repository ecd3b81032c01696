"""``segzoo env``: versions and hardware, for bug reports."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib.metadata import version

import pytest
from typer.testing import Result

Run = Callable[..., Result]


def test_json_is_one_row(run: Run) -> None:
    """Versions, git state and machine, in the shape of every table."""
    result = run("env", "--json")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert content["schema_version"] == 1
    (row,) = content["rows"]
    assert set(row) == {"versions", "git", "machine"}
    assert row["versions"]["segzoo"] == version("segzoo")
    assert row["versions"]["python"] == platform.python_version()
    assert row["versions"]["torch"] == version("torch")
    assert row["machine"]["cpus"] >= 1


def test_table_is_plain(run: Run) -> None:
    """A person pastes it into an issue: a name and a value in each line."""
    lines = run("env").stdout.splitlines()
    assert lines[0].split() == ["what", "value"]
    told = dict(line.split(maxsplit=1) for line in lines[1:])
    assert told["segzoo"] == version("segzoo")
    assert told["machine.gpus"].startswith("[")
    assert "torch" in told


def test_what_is_missing_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not there, and a folder outside of any repository, are no errors."""
    versions = {"segzoo": "1", "timm": None}
    monkeypatch.setattr(
        "segzoo.cli.env.collect", lambda: {"versions": versions, "git": None, "machine": {"cpus": 2, "gpus": []}}
    )
    assert run("env").stdout.splitlines()[1:] == [
        "segzoo        1",
        "timm          not installed",
        "machine.cpus  2",
        "machine.gpus  []",
    ]
    assert json.loads(run("env", "--json").stdout)["rows"][0]["versions"]["timm"] is None
