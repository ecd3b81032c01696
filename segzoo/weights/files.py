"""Reading tensors by name from safetensors and torch files; whatever a file holds, none of it is executed."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from segzoo.errors import UsageFault

TORCH_ZIP = b"PK\x03\x04"
TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What torch.save wrote before version 1.6 begins with this number as a pickle; no other pickle does."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

NESTED_UNDER = ("state_dict", "model")
"""Keys under which training scripts keep a model's tensors beside an optimizer's."""

DATA_PARALLEL = "module."


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file's tensors by name; its content tells its kind, not its suffix.

    A torch file holds a dict of tensors, or one such dict under ``state_dict`` or ``model``. The prefix ``module.`` of
    a model that was trained in ``DataParallel`` is taken off.

    Raises:
        UsageFault: If the file is damaged, holds anything but dense tensors by name, or a value that is not finite.
    """
    tensors = _by_name(path, _content(path))
    if not tensors:
        raise UsageFault(f"{path.name} holds no tensors")
    for name, tensor in tensors.items():
        _check(path, name, tensor)
    if all(name.startswith(DATA_PARALLEL) for name in tensors):
        return {name.removeprefix(DATA_PARALLEL): tensor for name, tensor in tensors.items()}
    return tensors


def is_finite(tensor: Tensor) -> bool:
    """Say whether no value is infinite or NaN."""
    return bool(torch.isfinite(tensor).all())


def _content(path: Path) -> object:
    try:
        with path.open("rb") as file:
            head = file.read(len(TORCH_LEGACY))
            if head.startswith((TORCH_ZIP, TORCH_LEGACY)):
                file.seek(0)
                # Given a path, newer versions of torch go by its suffix.
                return torch.load(file, map_location="cpu", weights_only=True)
        if head[8:9] == b"{":
            return load_file(path)
    except Exception as error:  # each reader has exceptions of its own for a damaged file
        raise UsageFault(f"{path.name} cannot be read: {_reason(error)}") from error
    begins = f"it begins with {head[:8]!r}" if head else "it is empty"
    raise UsageFault(f"{path.name} cannot be read: {begins}, as neither safetensors nor torch files do")


def _reason(error: Exception) -> str:
    """Return what a reader says, without torch's advice to unpickle everything."""
    if isinstance(error, pickle.UnpicklingError):
        found = re.search(r"GLOBAL (\S+)", str(error))
        named = f" ({found[1]})" if found else ""
        return f"it is a pickle of more than tensors{named}, and no code in a file is run"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    sentence = str(error).partition("\n")[0].partition(". ")[0]
    return f"{type(error).__name__}: {sentence or 'it ends too early'}"


def _by_name(path: Path, content: object) -> dict[str, Tensor]:
    if isinstance(content, dict):
        nested = [content[key] for key in NESTED_UNDER if isinstance(content.get(key), dict)]
        for candidate in (content, *nested) if len(nested) < 2 else ():
            if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in candidate.items()):
                return dict(candidate)
    raise UsageFault(
        f"{path.name} does not hold tensors by name, be it at its top or under one of {' and '.join(NESTED_UNDER)}"
    )


def _check(path: Path, name: str, tensor: Tensor) -> None:
    dense = tensor.layout is torch.strided and tensor.device.type == "cpu"
    if not dense or tensor.dtype not in FLOATS + WHOLE:
        kind = str(tensor.dtype if dense else tensor.layout).removeprefix("torch.")
        raise UsageFault(f"{path.name}: {name} is no dense tensor of numbers, but {kind}")
    if tensor.dtype in FLOATS and not is_finite(tensor):
        raise UsageFault(f"{path.name}: {name} holds values that are not finite")
