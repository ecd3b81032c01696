"""What `segzoo new-plugin` writes is a package of its own name, and nothing is overwritten."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from segzoo.errors import UsageFault
from segzoo.skeleton import check_name, write_skeleton

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "distribution"),
    [("acme-seg", "acme-seg"), ("Acme_Seg", "acme-seg"), ("acme--seg", "acme-seg"), ("a", "a"), ("net2", "net2")],
)
def test_names_are_normalised(name: str, distribution: str) -> None:
    """A name in any spelling is the one that PEP 503 writes, which is the first half of the model's id."""
    assert check_name(name) == distribution


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("acme seg", "acme-seg"),
        ("acme.seg", "acme-seg"),
        ("-acme", "acme"),
        ("acme_", "acme"),
        ("2net", "seg-2net"),
        ("Größe/x", "gr-e-x"),
        ("../acme", "acme"),
        ("", "seg"),
        ("acme\n", "acme"),
    ],
)
def test_names_that_are_none(name: str, suggestion: str) -> None:
    """What pip or Python cannot take is refused with its value and a name that would do."""
    with pytest.raises(UsageFault) as caught:
        check_name(name)
    assert str(caught.value).startswith(f"{name!r} cannot name a package: ")
    assert str(caught.value).endswith(f"Did you mean {suggestion!r}?")
    assert check_name(suggestion) == suggestion


@pytest.mark.parametrize("name", ["segzoo", "Torch", "pytest", "random", "json", "class"])
def test_names_of_modules_that_would_be_hidden(name: str) -> None:
    """A package must not hide what Python, segzoo or its own tests import."""
    with pytest.raises(UsageFault, match=rf"named '{name}' would hide the module .* mean 'my-{name.lower()}'\?"):
        check_name(name)


@pytest.mark.parametrize("name", ["segnet", "fast-scnn", "UNet_ResNet34"])
def test_names_of_builtins(name: str) -> None:
    """The package's model would be shadowed from its first day."""
    with pytest.raises(UsageFault, match=r"would be named '\w+', and a built-in has that name. Did you mean 'my-"):
        check_name(name)


def test_package_bears_its_name(tmp_path: Path) -> None:
    """Folder, module, entry point, spec and license are named after the package, in the new folder and nowhere else."""
    target = write_skeleton("Acme_Seg", tmp_path / "new")
    assert target == tmp_path / "new" / "acme-seg"
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()) == [
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/acme_seg/__init__.py",
        "src/acme_seg/network.py",
        "src/acme_seg/py.typed",
        "src/acme_seg/specs.py",
        "tests/test_network.py",
    ]
    project = tomllib.loads((target / "pyproject.toml").read_text())["project"]
    assert project["name"] == "acme-seg"
    assert project["entry-points"] == {"segzoo.models": {"acme_seg": "acme_seg.specs:ACME_SEG"}}
    assert "The acme-seg authors" in (target / "LICENSE").read_text()
    assert "\nclass AcmeSeg(nn.Module):\n" in (target / "src/acme_seg/network.py").read_text()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """An existing folder is refused and left as it is."""
    (tmp_path / "acme-seg").mkdir()
    with pytest.raises(UsageFault, match=r"acme-seg exists; choose another name"):
        write_skeleton("acme-seg", tmp_path)
    assert list((tmp_path / "acme-seg").iterdir()) == []


def test_file_in_the_way(tmp_path: Path) -> None:
    """A file cannot hold the new folder."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageFault, match=r"file is not a folder; choose another --out"):
        write_skeleton("acme-seg", tmp_path / "file")


@pytest.mark.parametrize("name", ["x", "acme-seg", "semantic-segmentation-of-leaves"])
@pytest.mark.parametrize("settings", ["its own", "segzoo's"])
def test_code_is_clean(tmp_path: Path, name: str, settings: str) -> None:
    """Lint and format find nothing, by the skeleton's settings and by segzoo's, however long the name is."""
    target = write_skeleton(name, tmp_path)
    options = ["--config", str(ROOT / "pyproject.toml")] if settings == "segzoo's" else []
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        words = [sys.executable, "-m", "ruff", *command, *options, str(target)]
        done = subprocess.run(words, cwd=target, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
