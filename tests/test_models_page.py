"""``docs/models.md`` says what the registry says, and what the models cost."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import pytest

from segzoo.catalog import BUILTIN_SPECS
from segzoo.spec import ModelSpec


def load(name: str) -> types.ModuleType:
    """Import a file that lies beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = load("models_page")
COMMITTED = generator.PAGE.read_text(encoding="utf-8")


# Those whose names are one word are made in a moment.
@pytest.mark.parametrize(
    "spec",
    [pytest.param(spec, id=spec.name, marks=pytest.mark.slow if "_" in spec.name else ()) for spec in BUILTIN_SPECS],
)
def test_row_is_what_the_model_is(spec: ModelSpec) -> None:
    """Sources, parameters, GMACs, smallest input, weights and license stand in the page as they are."""
    assert generator.row(spec) in COMMITTED.splitlines()


def test_page_has_nothing_else() -> None:
    """Head and order are the generator's, and there is one row for each model."""
    rows = [line for line in COMMITTED.splitlines() if line.startswith("| `")]
    assert generator.page(rows) == COMMITTED
    assert [row.split("`")[1] for row in rows] == [f"segzoo/{spec.name}" for spec in BUILTIN_SPECS]
