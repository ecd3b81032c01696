"""What a run records of where it happened."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from segzoo import environment


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder in which programs are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with one commit of one file."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "someone")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "someone@example.org")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "file.txt").write_text("one")
    git(folder, "init", "--quiet")
    git(folder, "add", "file.txt")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it prints."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write_program(path: Path, body: str) -> None:
    """Write a shell script that can be run."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_versions_come_from_metadata() -> None:
    """Each version is the one that the distribution's metadata tells, and Python's own."""
    found = environment.versions()
    assert found["pydantic"] == version("pydantic")
    assert found["python"] == platform.python_version()
    assert set(environment.DISTRIBUTIONS) < set(found)


def test_missing_distributions_have_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is None; segzoo itself, run from its sources, says that it is unknown."""

    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(environment, "version", nothing)
    monkeypatch.setattr(environment, "distribution", nothing)
    found = environment.versions()
    assert found["segzoo"] == "0+unknown"
    assert found["torch"] is None
    assert found["cuda"] is None


def test_cuda_is_what_torch_was_built_for() -> None:
    """The CUDA version equals the one that torch tells of itself."""
    torch = pytest.importorskip("torch")
    assert environment.versions()["cuda"] == torch.version.cuda


def test_nothing_heavy_is_imported() -> None:
    """Collecting everything imports neither torch nor numpy."""
    code = (
        "import sys; from segzoo.environment import collect; collect(); "
        "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_git_state_tells_commit_and_changes(repository: Path) -> None:
    """The commit is HEAD's, also from a folder inside; a changed tracked file is dirt, an untracked one is not."""
    head = git(repository, "rev-parse", "HEAD")
    (repository / "runs").mkdir()
    (repository / "runs" / "run.json").write_text("{}")
    assert environment.git_state(repository / "runs") == {"sha": head, "dirty": False}
    (repository / "file.txt").write_text("two")
    assert environment.git_state(repository) == {"sha": head, "dirty": True}


def test_git_state_is_none_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a repository, in a missing folder and before the first commit there is no state."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert environment.git_state(tmp_path / "missing") is None
    empty = tmp_path / "empty"
    empty.mkdir()
    assert environment.git_state(empty) is None
    git(empty, "init", "--quiet")
    assert environment.git_state(empty) is None


@pytest.mark.usefixtures("programs")
def test_machine_without_programs() -> None:
    """Without git and nvidia-smi the rest is still told."""
    machine = environment.machine()
    assert machine["gpus"] == []
    assert machine["cpus"] >= 1
    assert machine["platform"] == platform.platform()
    assert machine["processor"]
    assert environment.git_state(Path()) is None


def test_gpus_are_read_from_the_driver(programs: Path) -> None:
    """A name may hold a comma; memory that the driver does not tell is None."""
    write_program(
        programs / "nvidia-smi", "echo 'NVIDIA H200, 143771, 570.86.15'\necho 'Odd, with comma, [N/A], 570.86.15'"
    )
    assert environment.machine()["gpus"] == [
        {"name": "NVIDIA H200", "memory_mib": 143771, "driver": "570.86.15"},
        {"name": "Odd, with comma", "memory_mib": None, "driver": "570.86.15"},
    ]


@pytest.mark.parametrize("body", ["echo 'no devices'; exit 6", "echo 'no devices'", "exec /bin/sleep 9"])
def test_a_broken_driver_is_no_gpu(programs: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A driver that fails, says something else or hangs neither stops a run nor invents a GPU."""
    monkeypatch.setattr(environment, "TIMEOUT_S", 0.2)
    write_program(programs / "nvidia-smi", body)
    assert environment.machine()["gpus"] == []


def test_everything_is_json() -> None:
    """What is collected has three parts and can be written into run.json as it is."""
    found = environment.collect()
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {"versions", "git", "machine"}
