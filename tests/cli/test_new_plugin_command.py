"""``segzoo new-plugin``: a folder to start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]


def test_path_is_the_data(run: Run) -> None:
    """Stdout has the new folder, here below the current directory, and stderr what to do next."""
    result = run("new-plugin", "acme-seg")
    assert (result.exit_code, result.stdout) == (0, "acme-seg\n")
    assert Path("acme-seg/pyproject.toml").is_file()
    assert [line.strip() for line in result.stderr.splitlines()] == [
        "next:",
        "cd acme-seg",
        "pip install --editable '.[dev]'",
        "pytest",
        "segzoo check acme-seg/acme_seg",
    ]


def test_out_is_where_the_folder_goes(run: Run, tmp_path: Path) -> None:
    """``--out`` is the folder around the new one."""
    result = run("new-plugin", "acme-seg", "--out", str(tmp_path / "plugins"))
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'plugins' / 'acme-seg'}\n")
    assert (tmp_path / "plugins/acme-seg/src/acme_seg/specs.py").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("segzoo", "a package named 'segzoo' would hide the module 'segzoo', or could not be imported."),
        ("acme seg", "'acme seg' cannot name a package: "),
        ("segnet", "the package's model would be named 'segnet', and a built-in has that name."),
    ],
)
def test_names_are_refused(refused: Callable[..., str], name: str, message: str) -> None:
    """A name that cannot work is the user's mistake, and nothing is written."""
    assert refused("new-plugin", name).startswith(message)
    assert list(Path().iterdir()) == []


def test_existing_folder_is_refused(run: Run, refused: Callable[..., str]) -> None:
    """The second call of two leaves the work that began after the first."""
    run("new-plugin", "acme-seg")
    Path("acme-seg/README.md").write_text("mine")
    assert refused("new-plugin", "Acme_Seg") == ("acme-seg exists; choose another name or another --out")
    assert Path("acme-seg/README.md").read_text() == "mine"
