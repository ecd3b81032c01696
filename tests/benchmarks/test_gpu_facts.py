"""The facts of a machine are collected wherever it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import gpu_facts
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_facts.py"


def driver(folder: Path, code: str) -> None:
    """Write a program that stands for ``nvidia-smi``."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)


def test_without_a_driver_there_are_no_facts_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that is missing or fails gives None."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_facts.driver_facts() is None
    driver(tmp_path, "exit 9")
    assert gpu_facts.driver_facts() is None


def test_a_query_that_the_driver_does_not_know_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each GPU has the other facts."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    driver(tmp_path, 'case "$1" in *=name) echo A; echo B;; *=pstate) echo P0; echo P8;; *) exit 2;; esac')
    assert gpu_facts.driver_facts() == [{"name": "A", "pstate": "P0"}, {"name": "B", "pstate": "P8"}]


def test_the_file_holds_versions_and_distributions(tmp_path: Path) -> None:
    """With or without a GPU, what is installed is recorded."""
    path = tmp_path / "facts.json"
    subprocess.run([sys.executable, str(SCRIPT), "--out", str(path)], check=True, capture_output=True)
    found = json.loads(path.read_text())
    assert found["torch"]["torch"] == found["distributions"]["torch"] or found["torch"]["torch"].startswith(
        found["distributions"]["torch"]
    )
    assert found["environment"]["versions"]["python"]
    assert isinstance(found["torch"]["devices"], list)
