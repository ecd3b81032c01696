"""Where a run happened: versions, git state and machine, told without importing what is told of."""

from __future__ import annotations

import os
import platform
import runpy
import shlex
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

# Not typing's: pydantic, which reads these classes in run records, takes that from Python 3.12 on.
from typing_extensions import TypedDict

DISTRIBUTIONS = (
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "timm",
    "albumentations",
    "torchmetrics",
    "pydantic",
    "typer",
    "numpy",
)
TIMEOUT_S = 5


class GitState(TypedDict):
    """The commit of a work tree, and whether tracked files differ from it."""

    sha: str
    dirty: bool


class Gpu(TypedDict):
    """One GPU as its driver describes it."""

    name: str
    memory_mib: int | None
    driver: str


class Machine(TypedDict):
    """The computer; ``cpus`` counts those that this process may use."""

    platform: str
    processor: str
    cpus: int
    memory_bytes: int | None
    gpus: list[Gpu]


class Environment(TypedDict):
    """Everything that a run records of where it happened."""

    versions: dict[str, str | None]
    git: GitState | None
    machine: Machine


def collect() -> Environment:
    """Return versions, the git state of the current directory, and the machine."""
    return {"versions": versions(), "git": git_state(Path()), "machine": machine()}


def versions() -> dict[str, str | None]:
    """Return the version of segzoo, Python, CUDA and each main dependency; None where it is not installed."""
    return {
        "segzoo": package_version("segzoo") or "0+unknown",
        "python": platform.python_version(),
        "cuda": _cuda(),
        **{name: package_version(name) for name in DISTRIBUTIONS},
    }


def package_version(name: str) -> str | None:
    """Return the version of an installed distribution, from its metadata, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_state(folder: Path) -> GitState | None:
    """Return the state of the repository around ``folder``, or None without git, a repository or a commit."""
    # Untracked files are not looked at: a run's own output would make every second run dirty.
    status = _output(
        "git", "-C", str(folder), "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"
    )
    lines = (status or "").splitlines()
    sha = next((line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if sha == "(initial)":
        return None
    return {"sha": sha, "dirty": any(not line.startswith("#") for line in lines)}


def machine() -> Machine:
    """Describe the computer and its NVIDIA GPUs."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": _cpus(),
        "memory_bytes": _memory_bytes(),
        "gpus": _gpus(),
    }


def _cuda() -> str | None:
    """Return the CUDA version that torch was built for, from the file that records it: the metadata does not."""
    try:
        recorded = runpy.run_path(str(distribution("torch").locate_file("torch/version.py")))
    except (PackageNotFoundError, OSError):
        return None
    return recorded.get("cuda")


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[Gpu]:
    table = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    rows = [line.rsplit(", ", 2) for line in (table or "").splitlines()]
    return [
        {"name": row[0], "memory_mib": int(row[1]) if row[1].isdecimal() else None, "driver": row[2]}
        for row in rows
        if len(row) == 3
    ]


def _output(*command: str) -> str | None:
    """Return what a command prints, or None where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def unmet_requirement(text: str) -> str | None:
    """Return what is missing of a requirement and how to install it, or None where it is met.

    Args:
        text: A requirement as pip takes it, such as ``"acme-ops>=1.2"``.

    Raises:
        ValueError: If it is not a requirement.
    """
    from packaging.requirements import Requirement  # `segzoo list` needs no parser

    requirement = Requirement(text)
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return (
            f"requires {text!r}, but {requirement.name} is not installed; "
            f"install it with: pip install {shlex.quote(text)}"
        )
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return (
        f"requires {text!r}, but {requirement.name} {installed} is installed; "
        f"change it with: pip install {shlex.quote(text)}"
    )
