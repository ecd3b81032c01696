"""ONNX: one file that holds the network and its weights."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from segzoo.errors import SegzooError
from segzoo.export.tracing import DIMENSIONS, check_dimensions, evaluation, example
from segzoo.files import write_atomic
from segzoo.inference.exported import OnnxNetwork, first_cause, quiet_runtimes, require_packages

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(
    model: nn.Module,
    path: Path,
    *,
    in_channels: int,
    size: tuple[int, int],
    dynamic: Collection[str] = tuple(DIMENSIONS),
) -> None:
    """Write a model, as it is in evaluation mode, to one ONNX file with the input ``image`` and the output ``logits``.

    The model is left in the mode it was in. The file appears whole or not at all.

    Args:
        model: The model.
        path: The file; one that exists is replaced.
        in_channels: Channels of the image.
        size: Height and width of the image, which the file keeps where they are not open.
        dynamic: The dimensions left open, of ``batch``, ``height`` and ``width``; a batch that is not is one image.

    Raises:
        UnknownName: If ``dynamic`` names no dimension.
        MissingDistribution: If a package of the extra ``onnx`` is missing.
        SegzooError: If the model cannot be exported in this way.
    """
    check_dimensions(dynamic)
    require_onnx()
    image = example(model, in_channels, size, dynamic)
    with evaluation(model), quiet_runtimes(), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / "model.onnx"
        _export(model, image, draft, {DIMENSIONS[name]: name for name in dynamic})
        if len(list(draft.parent.iterdir())) > 1:
            raise SegzooError(f"{path} was not written: the model is larger than one ONNX file can be")
        write_atomic(path, draft.read_bytes())


def run_onnx(path: Path, image: Tensor) -> Tensor:
    """Return the logits that onnxruntime computes for one batch, as :class:`OnnxNetwork` does."""
    return OnnxNetwork(path)(image)


def embed(path: Path, metadata: Mapping[str, str]) -> None:
    """Write text by name into an ONNX file, where onnxruntime finds it as the model's custom metadata."""
    onnx = importlib.import_module("onnx")
    model = onnx.load(path)
    onnx.helper.set_model_props(model, dict(metadata))
    write_atomic(path, model.SerializeToString())


def require_onnx() -> None:
    """Make sure that what exports and runs ONNX files is installed.

    Raises:
        MissingDistribution: If a package is missing.
    """
    require_packages(*PACKAGES)


def _export(model: nn.Module, image: Tensor, path: Path, dynamic: dict[int, str]) -> None:
    try:
        torch.onnx.export(
            model,
            (image,),
            path,
            dynamo=True,
            external_data=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=(dynamic,),
            verbose=False,
        )
    except Exception as error:  # torch raises whatever a model's code or a translation raises
        raise SegzooError(f"the model cannot be exported to ONNX: {first_cause(error)}") from error
