"""Run a command on a machine without a GPU as if it had one: ``python tests/null_gpu/run.py COMMAND...``.

It builds the stand-in for the CUDA runtime, the driver and cuBLAS for the installed torch, keeps it in the folder for
temporary files, and starts the command with it. Kernels do nothing, so no value means anything; see CONTRIBUTING.md.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from filelock import FileLock

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "stand_in"
UNAVAILABLE = 77
"""Exit code where the stand-in cannot be built here."""

CUDA = "13"
"""The version whose signatures the sources have."""

HEADERS = ("cuda.h", "cuda_runtime_api.h", "cublas_v2.h", "cublasLt.h", "crt/host_defines.h")

LIBRARY = "libnull_gpu.so"
DRIVER = "libcuda.so.1"
"""What torch loads as the driver: the same library."""

WANTED = re.compile(r"\b((?:__)?cuda[A-Z]\w*|cublas[A-Z]\w*|cu(?!File)[A-Z]\w*)")
"""Names of the runtime, of cuBLAS and of the driver."""


MOST_DEVICES = 16
"""``kMostDevices`` of the sources."""

SETTINGS = {"NULL_GPU_COUNT": range(MOST_DEVICES + 1), "NULL_GPU_MEMORY": range(1, 1 << 63)}
"""The variables that the library reads, with the values that each may have."""


class UnavailableError(Exception):
    """The stand-in cannot be built here."""


def main() -> None:
    """Start the command under the null GPU."""
    command = sys.argv[1:]
    if not command:
        sys.exit(f"usage: python {sys.argv[0]} COMMAND...")
    if shutil.which(command[0]) is None:
        sys.exit(f"no command {command[0]!r}; give a program of PATH, or the path of an executable file")
    try:
        check_settings(os.environ)
        folder = build()
    except ValueError as error:
        sys.exit(str(error))
    except UnavailableError as error:
        print(f"no null GPU: {error}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
    os.execvpe(command[0], command, environment(folder))


def check_settings(settings: Mapping[str, str]) -> None:
    """Check the variables that the library reads: it would take 8 of ``8GiB`` as bytes.

    Raises:
        ValueError: If one is not a whole number, or out of range.
    """
    for name, allowed in SETTINGS.items():
        value = settings.get(name)
        if value is not None and not (re.fullmatch("[0-9]+", value) and int(value) in allowed):
            raise ValueError(f"{name} must be a whole number from {allowed[0]} to {allowed[-1]}, got {value!r}")


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process that sees the null GPU built in the folder."""
    before = os.environ
    return {
        **before,
        "NULL_GPU": str(folder),
        "LD_PRELOAD": str(folder / LIBRARY),
        "LD_LIBRARY_PATH": _joined(str(folder), before.get("LD_LIBRARY_PATH")),
        "PYTHONPATH": _joined(str(HERE / "site"), before.get("PYTHONPATH")),
    }


def build() -> Path:
    """Build the stand-in for the installed torch unless that is done, and return its folder.

    Raises:
        UnavailableError: If there is no compiler, or no torch for CUDA 13 with CUDA's headers.
    """
    compiler = shutil.which("g++")
    if compiler is None or shutil.which("nm") is None:
        raise UnavailableError("g++ and nm are needed to build it")
    torch = _torch()
    root = Path(tempfile.gettempdir()) / f"null-gpu-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    folder = root / _key(compiler)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=root) as scratch:
                _compile(compiler, torch / "lib", Path(scratch))
                Path(scratch).rename(folder)
    return folder


def _compile(compiler: str, torch: Path, out: Path) -> None:
    """Compile the sources, and a function that returns 0 for each further name that torch's libraries ask for."""
    headers = [f"-I{folder}" for folder in _headers()]
    objects = []
    for source in _sources():
        objects.append(out / f"{source.stem}.o")
        options = ["-std=c++17", "-O1", "-fPIC", "-Wall", "-Wextra", *headers]
        _run([compiler, *options, "-c", str(source), "-o", str(objects[-1])])
    have = set(_names(_run(["nm", "--defined-only", *map(str, objects)])))
    wanted = set(_names(_run(["nm", "--dynamic", "--undefined-only", *map(str, torch.glob("*.so"))])))
    rest = out / "rest.c"
    rest.write_text("".join(f"int {name}() {{ return 0; }}\n" for name in sorted(wanted - have)))
    _run([compiler, "-x", "c", "-fPIC", "-c", str(rest), "-o", str(out / "rest.o")])
    _run([compiler, "-shared", *map(str, objects), str(out / "rest.o"), "-ldl", "-o", str(out / LIBRARY)])
    (out / DRIVER).symlink_to(LIBRARY)


def _torch() -> Path:
    """Return torch's folder.

    Raises:
        UnavailableError: If torch or the headers do not fit.
    """
    found = _locations("torch")
    if not found or not (found[0] / "lib" / "libtorch_cuda.so").is_file():
        raise UnavailableError("the installed torch is built without CUDA")
    version = re.search(r"^cuda\b.*= *'(.*)'", (found[0] / "version.py").read_text(), re.MULTILINE)
    if version is None or version[1].split(".")[0] != CUDA:
        raise UnavailableError(f"torch is built for CUDA {version and version[1]}, the sources for {CUDA}")
    folders = list(_headers())
    for header in HEADERS:
        if not any((folder / header).is_file() for folder in folders):
            raise UnavailableError(f"no installed package has the header {header}")
    return found[0]


def _headers() -> Iterator[Path]:
    """Yield the folders of CUDA's headers: those that torch's own dependencies install, then Triton's.

    Torch's lack the folder ``crt``, which Triton's have.
    """
    for place in _locations("nvidia"):
        yield from sorted(place.glob("*/include"))
    for place in _locations("triton"):
        yield place / "backends" / "nvidia" / "include"


def _sources() -> list[Path]:
    return sorted(SOURCES.glob("*.cpp"))


def _names(listing: str) -> list[str]:
    return WANTED.findall(listing)


def _key(compiler: str) -> str:
    """Return what the built library depends on as a file name."""
    versions = f"{importlib.metadata.version('torch')} {compiler}"
    digest = hashlib.sha256(versions.encode())
    for path in (Path(__file__), *sorted(SOURCES.iterdir())):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _locations(name: str) -> list[Path]:
    """Return the folders of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout


def _joined(first: str, others: str | None) -> str:
    return first if not others else f"{first}{os.pathsep}{others}"


if __name__ == "__main__":
    main()
