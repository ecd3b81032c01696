"""What several tests need: small distributions, written as pip would leave them."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess

# Small tensors gain nothing from threads, and on a busy machine threads that wait for each other cost a lot. Set before
# torch is imported, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from segzoo.plugins import default_registry
from segzoo.recipe import Recipe, load_recipe
from tests.made_runs import SMALL, Chains, Runs

SETTINGS = ("SEGZOO_PLUGINS", "SEGZOO_STRICT_PLUGINS")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Return a function that puts a distribution on the path of this process and of those it starts.

    It takes the distribution's name, its entry points by name and the code of its one module, which is called like the
    distribution, and returns the folder of the metadata.
    """
    site = tmp_path / "site"
    site.mkdir()
    modules: set[str] = set()

    def write(
        name: str, models: Mapping[str, str], code: str = "", *, version: str = "1.0", folder: Path = site
    ) -> Path:
        module = name.replace("-", "_")
        modules.add(module)
        (folder / f"{module}.py").write_text(code)
        info = folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        points = "".join(f"{key} = {target}\n" for key, target in models.items())
        (info / "entry_points.txt").write_text(f"[segzoo.models]\n{points}")
        importlib.invalidate_caches()
        default_registry.cache_clear()
        return info

    for setting in SETTINGS:
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH")))))
    default_registry.cache_clear()
    yield write
    default_registry.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def offer(install: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that installs a distribution with one good model; further arguments are fields of its spec."""

    def write(distribution: str, name: str, *, before: str = "", version: str = "1.0", **fields: object) -> Path:
        code = f"{before}\n{spec_code(name, **fields)}"
        return install(distribution, {name: f"{distribution.replace('-', '_')}:SPEC"}, code, version=version)

    return write


def spec_code(name: str, **fields: object) -> str:
    """Return the source of a module with one spec in it."""
    arguments = {
        "name": name,
        "summary": f"What {name} is",
        "family": "acme",
        "builder": "acme_nets:build",
        "license": "Apache-2.0",
        **fields,
    }
    values = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return (
        "from segzoo import ModelSpec, Params\n\n\n"
        "class LiteParams(Params):\n    width: int = 8\n\n\n"
        f"SPEC = ModelSpec(params=LiteParams, {values})\n"
    )


@pytest.fixture
def childless() -> None:
    """End the workers of loaders that former tests left in reference cycles: all children are then the test's own."""
    gc.collect()


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    """Give back the threads and the determinism that a run sets."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    yield
    if torch and threads:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)


@pytest.fixture
def runs() -> Runs:
    """Return a maker of runs."""
    return Runs()


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs end without figures, which take longer than a small run."""
    monkeypatch.setattr("segzoo.training.session.draw_figures", lambda trainer, run: None)


@pytest.fixture(scope="session")
def small() -> Callable[..., Recipe]:
    """Return a function that gives the quickstart recipe at a size of two steps an epoch, with some changes."""
    return lambda *changes: load_recipe("quickstart", (*SMALL, *changes))


@pytest.fixture(scope="session")
def chains() -> Iterator[Chains]:
    """Return what stops runs; one process that has imported everything serves all tests."""
    command = [sys.executable, str(Path(__file__).with_name("training") / "interrupted_run.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Chains(process.stdin, process.stdout)
        process.stdin.close()
