"""The public names, and the package that users install."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import segzoo

ROOT = Path(__file__).parents[1]


def test_public_names() -> None:
    """What segzoo exports is decided here; each name can be had."""
    assert segzoo.__all__ == [
        "InputSpec",
        "Method",
        "ModelInfo",
        "ModelSpec",
        "Params",
        "Predictor",
        "Recipe",
        "Run",
        "SegzooError",
        "Weights",
        "create_model",
        "evaluate",
        "finetune",
        "get_spec",
        "is_model",
        "list_models",
        "load",
        "load_recipe",
        "plugins",
        "register",
    ]
    for name in segzoo.__all__:
        assert getattr(segzoo, name) is not None
    assert dir(segzoo) == segzoo.__all__


def test_unknown_name_is_an_attribute_error() -> None:
    """A typo is told as Python tells it."""
    with pytest.raises(AttributeError, match="has no attribute 'creat_model'"):
        _ = segzoo.creat_model


def test_functions_are_not_hidden_by_modules_of_their_name() -> None:
    """segzoo.plugins is the function although there is a module of that name."""
    import segzoo.plugins as module

    assert callable(segzoo.plugins)
    assert module is not None


def test_wheel_holds_recipes_templates_and_tables(tmp_path: Path) -> None:
    """An installed segzoo has its recipes and everything that is read at run time."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    script = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = zipfile.ZipFile(tmp_path / done.stdout.split()[-1]).namelist()
    recipes = {f"segzoo/_recipes/{path.name}" for path in (ROOT / "recipes").glob("*.json")}
    assert recipes <= set(names)
    for needed in ("segzoo/templates/report.html.j2", "segzoo/catalog/augmentations.json", "segzoo/py.typed"):
        assert needed in names
    assert not [name for name in names if name.startswith("tests/")]
