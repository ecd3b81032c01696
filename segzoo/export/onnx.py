"""ONNX: one file that holds the network and its weights, and what onnxruntime makes of it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from segzoo.errors import MissingDistribution, SegzooError, UnknownName
from segzoo.files import write_atomic

DIMENSIONS = {"batch": 0, "height": 2, "width": 3}
"""The axes of an image that an export can leave open, by name."""

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
    for name in dynamic:
        if name not in DIMENSIONS:
            raise UnknownName("dimension", name, DIMENSIONS)
    require_onnx()
    # One image would make torch take the batch for a constant.
    image = torch.rand(2 if "batch" in dynamic else 1, in_channels, *size, device=_device(model))
    with _evaluation(model), _quiet(), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / "model.onnx"
        _export(model, image, draft, {DIMENSIONS[name]: name for name in dynamic})
        if len(list(draft.parent.iterdir())) > 1:
            raise SegzooError(f"{path} was not written: the model is larger than one ONNX file can be")
        write_atomic(path, draft.read_bytes())


def run_onnx(path: Path, image: Tensor) -> Tensor:
    """Return the logits that onnxruntime computes, on the CPU with one thread, so that they can be compared.

    Args:
        path: A file from :func:`export_onnx`.
        image: ``(N, in_channels, H, W)``, on the CPU.

    Raises:
        MissingDistribution: If a package of the extra ``onnx`` is missing.
        SegzooError: If onnxruntime cannot load the file or run it on this image.
    """
    require_onnx()
    onnxruntime = importlib.import_module("onnxruntime")  # it has no type hints

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; it need not be printed as well
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (logits,) = session.run(["logits"], {"image": image.numpy()})
    except Exception as error:  # its exceptions share no base of their own
        shape = "x".join(map(str, image.shape))
        raise SegzooError(f"onnxruntime cannot run {path.name} on {shape}: {error}") from error
    return torch.from_numpy(logits)


def require_onnx() -> None:
    """Make sure that what exports and runs ONNX files is installed.

    Raises:
        MissingDistribution: If a package is missing.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingDistribution(
                f"ONNX needs the package {package!r}, which is not installed; "
                "install it with: pip install 'segzoo[onnx]'"
            )


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
        raise SegzooError(f"the model cannot be exported to ONNX: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """Return what first went wrong; the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


def _device(model: nn.Module) -> torch.device:
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


@contextlib.contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Hold a model in evaluation mode, and put each layer back into its own."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings, which are about its own insides, from the caller, and stdout clean."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield
