"""segzoo: a model zoo and plugin registry for semantic segmentation.

Importing this package imports no torch; the names that need it load it when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import segzoo.distributions  # noqa: F401 - looks at all metadata before pydantic does
from segzoo.errors import SegzooError
from segzoo.inference.method import Method
from segzoo.plugins import get_spec, is_model, list_models, plugins, register
from segzoo.recipe import Recipe, load_recipe
from segzoo.registry import ModelInfo
from segzoo.spec import InputSpec, ModelSpec, Params, Weights

if TYPE_CHECKING:
    from segzoo.build import create_model
    from segzoo.inference.evaluation import evaluate
    from segzoo.inference.loading import load
    from segzoo.inference.predictor import Predictor
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

_NEED_TORCH = {
    "Predictor": "segzoo.inference.predictor",
    "Run": "segzoo.training.finetune",
    "create_model": "segzoo.build",
    "evaluate": "segzoo.inference.evaluation",
    "finetune": "segzoo.training.finetune",
    "load": "segzoo.inference.loading",
}


def __getattr__(name: str) -> object:
    if name in _NEED_TORCH:
        return getattr(importlib.import_module(_NEED_TORCH[name]), name)
    raise AttributeError(f"module 'segzoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
