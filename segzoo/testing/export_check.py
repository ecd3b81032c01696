"""The check of the ONNX export, in a process of its own."""

from __future__ import annotations

import functools
import importlib
import tempfile
from pathlib import Path

import torch
from torch import nn

from segzoo.errors import MissingDistribution
from segzoo.export.onnx import PACKAGES, export_onnx, require_onnx, run_onnx
from segzoo.export.tracing import DIMENSIONS
from segzoo.testing.isolation import run_apart
from segzoo.testing.subject import SIDE, ContractError, SkippedCheck, Subject, random_image

TOLERANCE = 1e-3
"""Largest difference of two logits over the largest logit."""

TIMEOUT_S = 300.0

Shape = tuple[int, int, int]


def onnx_export(subject: Subject) -> None:
    """The network exports to ONNX and onnxruntime agrees with torch, also at other sizes unless the spec fixes them."""
    try:
        require_onnx()
    except MissingDistribution as error:
        raise SkippedCheck(str(error)) from None
    _warm_up()
    height, width = subject.sized(SIDE, SIDE + 32)
    fixed = subject.refined.fixed_export_dims
    other = (1, height + 33 * ("height" not in fixed), width + 35 * ("width" not in fixed))
    dynamic = [name for name in DIMENSIONS if name not in fixed]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        work = functools.partial(_export_and_compare, subject.model, path, dynamic, (height, width), other)
        run_apart(work, timeout_s=TIMEOUT_S)


@functools.cache
def _warm_up() -> None:
    """Load what exporting needs, by exporting one layer: once here, not again in every child."""
    for package in PACKAGES:
        importlib.import_module(package)
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(nn.Conv2d(1, 1, 1), Path(folder) / "layer.onnx", in_channels=1, size=(2, 2))


def _export_and_compare(model: nn.Module, path: Path, dynamic: list[str], size: tuple[int, int], other: Shape) -> None:
    export_onnx(model, path, in_channels=3, size=size, dynamic=dynamic)
    batch = 2 if "batch" in dynamic else 1
    for shape in dict.fromkeys([(batch, *size), other]):
        image = random_image(*shape)
        with torch.no_grad():
            expected = model(image)
        actual = run_onnx(path, image)
        difference = ((actual - expected).abs().max() / expected.abs().max()).item()
        if not difference <= TOLERANCE:
            raise ContractError(
                f"onnxruntime's logits for {shape[0]} images of {shape[1]}x{shape[2]} pixels differ from torch's by "
                f"{difference:.2g} of the largest, more than {TOLERANCE:g}; the export was made for {size[0]}x{size[1]}"
            )
