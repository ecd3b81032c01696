"""The packages that we show to authors are installed as users install them, and pass their own tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segzoo.skeleton import write_skeleton
from segzoo.testing import CHECKS

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "acme-seg"

QUICK_RECIPE = (
    "model.name=acme-seg/unet_lite",
    "data.size=[32, 32]",
    "data.image_size=[32, 32]",
    'data.counts={"train": 4, "val": 2}',
    "train.batch_size=2",
    "train.max_steps=2",
)


def pip_install(package: Path, site: Path) -> Path:
    """Install a package into a folder, from its source and offline, and return the folder."""
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(package)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return site


def python(site: Path, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python where the packages in a folder are installed."""
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    for setting in ("SEGZOO_PLUGINS", "SEGZOO_STRICT_PLUGINS", "PYTEST_ADDOPTS"):
        environment.pop(setting, None)
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=600)


def own_tests(package: Path, site: Path, *options: str) -> int:
    """Run a package's own tests, which must all pass or skip, and return how many there are."""
    done = python(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, cwd=package)
    assert done.returncode == 0, done.stdout + done.stderr
    return sum(int(number) for number in re.findall(r"(\d+) (?:passed|skipped)", done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the example is installed."""
    return pip_install(EXAMPLE, tmp_path_factory.mktemp("acme") / "site")


# The export is what takes long.
with_and_without_export = pytest.mark.parametrize(
    ("options", "left_out"), [(["-k", "not onnx_export"], 1), pytest.param([], 0, marks=pytest.mark.slow)]
)


@pytest.mark.slow
@with_and_without_export
def test_example_passes_its_own_tests(acme: Path, options: list[str], left_out: int) -> None:
    """The whole contract and the sizes that its README states."""
    assert own_tests(EXAMPLE, acme, *options) == len(CHECKS) + 3 - left_out


@with_and_without_export
def test_skeleton_passes_its_own_tests(tmp_path: Path, options: list[str], left_out: int) -> None:
    """What ``segzoo new-plugin`` writes works before its author has changed a line."""
    package = write_skeleton("beta-seg", tmp_path)
    site = pip_install(package, tmp_path / "site")
    assert own_tests(package, site, *options) == len(CHECKS) + 1 - left_out


@pytest.mark.slow
def test_installing_is_enough(acme: Path, tmp_path: Path) -> None:
    """List and show know the model, training uses it, and the benchmark measures both the model and its run."""
    listed = python(acme, "-m", "segzoo", "list", "acme-seg/*", "--json")
    (row,) = json.loads(listed.stdout)["rows"]
    assert (row["id"], row["version"], row["status"]) == ("acme-seg/unet_lite", "0.1.0", "ok")
    shown = python(acme, "-m", "segzoo", "show", "unet_lite", "--json")
    assert set(json.loads(shown.stdout)["rows"][0]["params"]) == {"width", "depth"}

    overrides = [word for override in QUICK_RECIPE for word in ("--set", override)]
    trained = python(
        acme, "-m", "segzoo", "finetune", "quickstart", *overrides, "--out", "run", "--device", "cpu", cwd=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["plugins"] == [{"id": "acme-seg/unet_lite", "distribution": "acme-seg", "version": "0.1.0"}]

    words = ("--device", "cpu", "--quick", "--size", "32x32", "--models", "run,acme-seg/*", "--json")
    benched = python(acme, "-m", "segzoo", "bench", *words, cwd=tmp_path)
    assert benched.returncode == 0, benched.stderr
    rows = json.loads(benched.stdout)["rows"]
    assert {(row["model"], row["status"]) for row in rows} == {("run", "ok"), ("acme-seg/unet_lite", "ok")}


def test_check_knows_it(acme: Path) -> None:
    """The contract kit finds the model by its bare name, and ``docs/plugins.md`` has the very output."""
    checked = python(acme, "-m", "segzoo", "check", "unet_lite", "--quick")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.splitlines()[1].split()[:3] == ["acme-seg/unet_lite", "-", "ok"]
    assert f"\n```\n{checked.stdout}```\n" in (EXAMPLE.parents[1] / "plugins.md").read_text()


def test_package_is_complete(acme: Path) -> None:
    """The wheel has the license and the mark that its code is typed."""
    assert (acme / "acme_seg" / "py.typed").is_file()
    assert list(acme.glob("acme_seg-0.1.0.dist-info/licenses/LICENSE"))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["example", "skeleton"])
def test_types_are_sound(which: str, tmp_path: Path) -> None:
    """``mypy --strict`` finds nothing in either package."""
    if which == "example":
        package = tmp_path / "acme-seg"
        shutil.copytree(EXAMPLE, package)
    else:
        package = write_skeleton("beta-seg", tmp_path)
    done = python(package / "src", "-m", "mypy", cwd=package)
    assert done.returncode == 0, done.stdout
