"""What an export is to be: its format, its numbers, and whether its sizes are open. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from segzoo.errors import UnknownName, UsageFault
from segzoo.files import prepare_folder

Format = Literal["onnx", "torch-export", "aoti"]
Precision = Literal["fp32", "fp16", "int8"]

SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch-export": ".pt2", "aoti": ".pt2"}
"""How the name of a file of each format ends."""


IMAGES = 64
"""How many validation images are compared where no other number is given."""

TOLERANCE = 1e-3
"""Largest difference of two logits that passes where both compute in float32."""

MAX_MIOU_LOSS = 0.01
"""Largest loss of mean IoU, 0 to 1, that passes where numbers are shorter and no other limit is given."""


@dataclass(frozen=True)
class Form:
    """What an export is to be.

    Args:
        format: ``onnx`` for onnxruntime and others, ``torch-export`` for torch without segzoo, ``aoti`` for
            machine code of this machine's CPU, which torch loads.
        precision: ``fp32``; ``fp16``, half the bytes; or ``int8``, for ONNX alone.
        dynamic: Whether batch, height and width are left open, as far as the model allows.

    Raises:
        UsageFault: If there is no such format, or it is not made in this precision.
    """

    format: Format = "onnx"
    precision: Precision = "fp32"
    dynamic: bool = False

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise UnknownName("format", self.format, get_args(Format))
        if self.precision not in get_args(Precision):
            raise UnknownName("precision", self.precision, get_args(Precision))
        if self.precision == "int8" and self.format != "onnx":
            raise UsageFault(f"int8 is made for ONNX alone, got --format {self.format}; take --format onnx, or --half")

    @property
    def exact(self) -> bool:
        """Whether the file computes with the numbers of the original."""
        return self.precision == "fp32"


def check_target(path: Path, form: Form, *, overwrite: bool) -> None:
    """Make sure that a file may be written, before anything is computed.

    Raises:
        UsageFault: If its name does not end as the format's do, its folder is missing, or it exists.
    """
    suffix = SUFFIXES[form.format]
    if path.suffix.lower() != suffix:
        raise UsageFault(f"a file of format {form.format} ends in {suffix}, got {path}; write {path.stem}{suffix}")
    check_writable(path, overwrite=overwrite)


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Make sure that a file may be written.

    Raises:
        UsageFault: If its folder is missing or takes no files, it is a folder, or it exists and may not be overwritten.
    """
    if not path.parent.is_dir():
        raise UsageFault(f"the folder {path.parent} does not exist")
    if path.is_dir():
        raise UsageFault(f"{path} is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise UsageFault(f"{path} exists; choose another name, or pass --overwrite")
    prepare_folder(path.parent)
