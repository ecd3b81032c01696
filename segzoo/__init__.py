"""segzoo: a model zoo and plugin registry for semantic segmentation.

Importing this package imports no torch; a name that needs more than the registry loads it when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import segzoo.distributions  # noqa: F401 - looks at all metadata before pydantic does
from segzoo.errors import SegzooError
from segzoo.plugins import get_spec, is_model, list_models, plugins, register
from segzoo.registry import ModelInfo
from segzoo.spec import InputSpec, ModelSpec, Params, Weights

if TYPE_CHECKING:
    from segzoo.build import create_model
    from segzoo.inference.evaluation import evaluate
    from segzoo.inference.loading import load
    from segzoo.inference.method import Method
    from segzoo.inference.predictor import Predictor
    from segzoo.recipe import Recipe, load_recipe
    from segzoo.training.finetune import Run, finetune

__all__ = [
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

_LATE = {
    "Method": "segzoo.inference.method",
    "Predictor": "segzoo.inference.predictor",
    "Recipe": "segzoo.recipe",
    "Run": "segzoo.training.finetune",
    "create_model": "segzoo.build",
    "evaluate": "segzoo.inference.evaluation",
    "finetune": "segzoo.training.finetune",
    "load": "segzoo.inference.loading",
    "load_recipe": "segzoo.recipe",
}


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'segzoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
