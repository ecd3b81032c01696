"""A finished run that tests only look at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from segzoo.recipe import Recipe
from segzoo.training.finetune import Run, finetune


@pytest.fixture(scope="session")
def run(small: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run."""
    return finetune(small(), out=tmp_path_factory.mktemp("runs") / "small", device="cpu")
