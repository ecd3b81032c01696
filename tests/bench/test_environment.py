"""Two places are told apart by what makes models faster or slower there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segzoo.bench.environment import describe_environment, environment_key, query_gpus


def test_the_key_changes_with_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another device, another flag: another key; load, git state and segzoo's own version change nothing."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    here = describe_environment("cpu")
    versions, state = here["versions"], here["state"]
    assert isinstance(versions, dict)
    assert isinstance(state, dict)
    later = {**here, "versions": {**versions, "segzoo": "9"}, "state": {**state, "load_average": 99.0}}
    assert environment_key(later) == environment_key(here)
    assert environment_key(describe_environment("cuda")) != environment_key(here)
    assert environment_key({**here, "versions": {**versions, "torch": "9"}}) != environment_key(here)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert environment_key(describe_environment("cpu")) != environment_key(here)


def test_an_environment_is_json() -> None:
    """What is described survives the file of rows."""
    here = describe_environment("cpu")
    assert json.loads(json.dumps(here)) == here


def test_limits_of_gpus_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each GPU is a mapping from field to value; a machine without nvidia-smi has none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert query_gpus(("power.limit",)) == []
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "700.00 W, 1980 MHz"\necho "300.00 W, 1410 MHz"\n')
    program.chmod(0o755)
    assert query_gpus(("power.limit", "clocks.max.sm")) == [
        {"power.limit": "700.00 W", "clocks.max.sm": "1980 MHz"},
        {"power.limit": "300.00 W", "clocks.max.sm": "1410 MHz"},
    ]
