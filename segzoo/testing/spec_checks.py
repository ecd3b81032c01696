"""Checks of a spec: nothing is built."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterable

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from segzoo.errors import ParamsError
from segzoo.params import validate_params
from segzoo.spec import ModelSpec
from segzoo.testing.subject import ContractError, SkippedCheck, Subject

HEAVY = ("torch", "torchvision", "numpy", "segmentation_models_pytorch", "timm", "albumentations")
IMPORT_TIMEOUT_S = 120

_IMPORT = f"""
import importlib, sys
importlib.import_module(sys.argv[1])
print("\\n" + ", ".join(name for name in {HEAVY!r} if name in sys.modules))
"""


def spec_without_torch(subject: Subject) -> None:
    """The module that offers the spec imports neither torch nor numpy, so that ``segzoo list`` stays quick."""
    if subject.module is None:
        raise SkippedCheck("no entry point offers this spec, so `segzoo list` never imports it")
    heavy = _heavy_imports(subject.module, os.pathsep.join(entry for entry in sys.path if entry))
    if heavy:
        raise ContractError(f"importing {subject.module} imports {heavy}; import it where the network is built")


@functools.cache
def _heavy_imports(module: str, path: str) -> str:
    """Return what importing a module from this path loads that is heavy, as words."""
    command = [sys.executable, "-c", _IMPORT, module]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=IMPORT_TIMEOUT_S,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ContractError(f"{module} cannot be imported in a process of its own: {said[-1]}")
    return done.stdout.splitlines()[-1]


def strict_params(subject: Subject) -> None:
    """Unknown parameters, misspelt ones, and values of a wrong type are refused."""
    spec = subject.spec
    defaults = subject.params.model_dump(mode="json")
    _must_refuse(spec, "no_such_parameter", [1])
    for name, field in spec.params.model_fields.items():
        key = field.alias or name
        typo = key + key[-1]
        if typo not in defaults:
            _must_refuse(spec, typo, [defaults[name]])
        _must_refuse(spec, key, _wrong_values(defaults[name]))


def _must_refuse(spec: ModelSpec, key: str, values: Iterable[object]) -> None:
    for value in values:
        try:
            validate_params(spec, {key: value})
        except ParamsError:
            return
    raise ContractError(f"the parameters take {key} = {value!r} without a word")


def _wrong_values(right: object) -> list[object]:
    """Return values of other types than ``right``, JSON data; where it is None, one of them may be right, too."""
    if right is None:
        return [{"wrong": "type"}, [["wrong type"]]]
    if isinstance(right, str):
        return [1]
    return [json.dumps(right)]


def json_round_trip(subject: Subject) -> None:
    """The default parameters and all of the spec survive JSON."""
    spec = subject.spec
    if spec.params.model_validate_json(subject.params.model_dump_json()) != subject.params:
        raise ContractError("the default parameters are others after a way through JSON")
    data = json.loads(spec.model_dump_json())
    copy = ModelSpec.model_validate({**data, "params": spec.params}, strict=False)
    changed = [name for name in ModelSpec.model_fields if getattr(copy, name) != getattr(spec, name)]
    if changed:
        raise ContractError(f"the spec's {changed[0]} is another after a way through JSON")


def license_is_spdx(subject: Subject) -> None:
    """The licenses of the code and of all weights are SPDX expressions."""
    spec = subject.spec
    stated = {"license": spec.license, **{f"weights.{tag}.license": w.license for tag, w in spec.weights.items()}}
    for path, text in stated.items():
        try:
            canonicalize_license_expression(text)
        except InvalidLicenseExpression as error:
            raise ContractError(f"{path}: {error}; write an SPDX identifier, such as Apache-2.0") from None
