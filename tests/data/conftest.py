"""A data set that files are planted into, and the check that finds them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from segzoo.cli import app
from tests.data.malformed import (
    Tree,
)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Return a data set of good files, and keep the records out of the user's cache."""
    monkeypatch.setenv("SEGZOO_CACHE", str(tmp_path / "cache"))
    return Tree(tmp_path / "data")


@pytest.fixture
def check(tree: Tree) -> Iterator[Callable[..., Result]]:
    """Return a function that runs ``segzoo data check`` on the tree, and undo what it does to logging."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield lambda *options: CliRunner().invoke(app, ["data", "check", str(tree.recipe()), *options])
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("segzoo").setLevel(logging.NOTSET)
