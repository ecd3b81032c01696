"""Exported files as networks: what onnxruntime or torch makes of them, and the description that goes with them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from segzoo.errors import MissingDistribution, SegzooError, UsageFault
from segzoo.files import sha256_file
from segzoo.inference.description import ModelDescription
from segzoo.messages import explain
from segzoo.spec import Sha256

Network = Callable[[Tensor], Tensor]
"""Maps images to logits."""


class ExportDescription(ModelDescription):
    """What goes with an exported file.

    Args:
        format: What runs it.
        precision: The numbers that it computes with.
        open_dimensions: The dimensions that are left open, of ``batch``, ``height`` and ``width``.
        min_size: Smallest height and width that the network takes.
        file_sha256: Checksum of the file that the description lies beside; None where it lies inside.
    """

    format: Literal["onnx", "torch-export", "aoti"]
    precision: Literal["fp32", "fp16", "int8"]
    open_dimensions: tuple[str, ...]
    min_size: int = Field(ge=1)
    file_sha256: Sha256 | None = None

    @property
    def title(self) -> str:
        """The model's id, and what was made of it."""
        return f"{self.id} ({self.format}, {self.precision})"

    @property
    def fixed_size(self) -> tuple[int | None, int | None]:
        """Height and width that images have to have, None where any will do."""
        height, width = self.image_size or (None, None)
        return None if "height" in self.open_dimensions else height, None if "width" in self.open_dimensions else width

    @property
    def window(self) -> tuple[int, int] | None:
        """Height and width of windows, None where the file takes images of one size alone."""
        return super().window if {"height", "width"} <= set(self.open_dimensions) else None


class Exported(nn.Module):
    """An exported file as a network on the CPU.

    Args:
        network: What the file computes.
        one_by_one: Whether it takes no more than one image at once.
        fixed_size: Height and width that images have to have, None where any will do.
    """

    def __init__(
        self, network: Network, *, one_by_one: bool, fixed_size: tuple[int | None, int | None] = (None, None)
    ) -> None:
        super().__init__()
        self._network = network
        self._one_by_one = one_by_one
        self._fixed_size = fixed_size

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``.

        Raises:
            UsageFault: If the image has another size than the file was made for.
        """
        height, width = image.shape[-2:]
        wanted = tuple(fixed or side for fixed, side in zip(self._fixed_size, (height, width), strict=True))
        if wanted != (height, width):
            raise UsageFault(
                f"the exported file takes {wanted[0]}x{wanted[1]} pixels here, got {height}x{width}: leave out windows "
                "and scales, or export it with --dynamic"
            )
        if not self._one_by_one:
            return self._network(image)
        return torch.cat([self._network(each) for each in torch.split(image, 1)])


def open_exported(path: Path) -> tuple[Exported, ExportDescription]:
    """Return what an exported file computes, with as many threads as torch has, and what is known of it.

    Raises:
        UsageFault: If there is no such file, or it was not written by ``segzoo export``.
        MissingDistribution: If it needs a package that is not installed.
        SegzooError: If it cannot be loaded.
    """
    if not path.is_file():
        raise UsageFault(f"no file is named {str(path)!r}")
    if path.suffix.lower() == ".onnx":
        found = _open_onnx(path)
        description = _read_description(path, found.metadata)
        network: Network = found
    else:
        description = _read_description(path, _beside(path))
        _check_sum(path, description)
        network = load_compiled(path) if description.format == "aoti" else load_program(path)
    one_by_one = "batch" not in description.open_dimensions
    return Exported(network, one_by_one=one_by_one, fixed_size=description.fixed_size), description


def _open_onnx(path: Path) -> OnnxNetwork:
    """Open a user's file, which may be anything; an export that is only just made is not at its user's fault."""
    require_packages("onnxruntime")
    try:
        return OnnxNetwork(path, threads=torch.get_num_threads())
    except SegzooError as error:
        raise UsageFault(f"{error}; it is damaged, or was never an ONNX file: copy it again, or export anew") from error


class OnnxNetwork:
    """An ONNX file as onnxruntime runs it on the CPU.

    Args:
        path: A file with the input ``image`` and the output ``logits``.
        threads: How many compute one image; one, so that results can be compared, unless told otherwise.

    Raises:
        MissingDistribution: If onnxruntime is not installed.
        SegzooError: If onnxruntime cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        require_packages("onnxruntime")
        onnxruntime = importlib.import_module("onnxruntime")  # it has no type hints
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised; it need not be printed as well
        self._name = path.name
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base of their own
            raise SegzooError(f"onnxruntime cannot load {path.name}: {error}") from error

    @property
    def metadata(self) -> dict[str, str]:
        """Text by name that lies in the file."""
        found: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return found

    def __call__(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` on the CPU to logits.

        Raises:
            SegzooError: If onnxruntime cannot run the file on this image.
        """
        try:
            (logits,) = self._session.run(["logits"], {"image": image.numpy()})
        except Exception as error:  # as above
            shape = "x".join(map(str, image.shape))
            raise SegzooError(f"onnxruntime cannot run {self._name} on {shape}: {error}") from error
        return torch.from_numpy(logits)


def load_program(path: Path) -> Network:
    """Return what a file of the format ``torch-export`` computes.

    Raises:
        SegzooError: If torch cannot load it.
    """
    return _loaded(lambda: torch.export.load(path).module(), path)


def load_compiled(path: Path) -> Network:
    """Return what a file of the format ``aoti`` computes.

    Raises:
        SegzooError: If torch cannot load it.
    """
    return _loaded(lambda: torch._inductor.aoti_load_package(str(path)), path)


def _loaded(load: Callable[[], Network], path: Path) -> Network:
    """Return a network that tells which file fails on which images."""
    try:
        with quiet_runtimes():
            network = load()
    except Exception as error:  # of archives, of torch's own reader, of the system's loader
        raise SegzooError(f"torch cannot load {path.name}: {first_cause(error)}") from error

    def run(image: Tensor) -> Tensor:
        try:
            return network(image)
        except Exception as error:  # a package's conditions raise a RuntimeError
            shape, cause = "x".join(map(str, image.shape)), first_cause(error)
            # What tracing took for granted, such as sizes that need no padding, is asserted.
            advice = "; --format onnx has no such limits" if isinstance(error, AssertionError) else ""
            raise SegzooError(f"torch cannot run {path.name} on {shape}: {cause}{advice}") from error

    return run


@contextlib.contextmanager
def quiet_runtimes() -> Iterator[None]:
    """Keep what exporters and loaders warn of and log, which is about their own insides, from the caller.

    What they print goes to stderr. What goes wrong is raised.
    """
    torch_logger = logging.getLogger("torch")
    level = torch_logger.level
    torch_logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch_logger.setLevel(level)


def first_cause(error: BaseException) -> str:
    """Return what first went wrong; exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


def require_packages(*packages: str) -> None:
    """Make sure that packages of the extra ``onnx`` are installed.

    Raises:
        MissingDistribution: If one is missing.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingDistribution(
                f"ONNX needs the package {package!r}, which is not installed; "
                "install it with: pip install 'segzoo[onnx]'"
            )


def _beside(path: Path) -> dict[str, Any]:
    """Return the description that lies beside a file of torch's formats."""
    about = path.with_name(f"{path.name}.json")
    if not about.is_file():
        raise UsageFault(f"{path} is described by {about.name} beside it, which is missing; copy both")
    try:
        found = json.loads(about.read_bytes())
    except ValueError as error:
        raise UsageFault(f"{about} is not JSON: {error}") from None
    return found if isinstance(found, dict) else {}


def _check_sum(path: Path, description: ExportDescription) -> None:
    """Make sure that a file is whole, and the one that is described beside it."""
    found = sha256_file(path)
    if found != description.file_sha256:
        raise UsageFault(
            f"{path} is damaged, or is not the file that {path.name}.json describes: its SHA-256 is {found[:12]}…, not "
            f"{(description.file_sha256 or 'none')[:12]}…; copy both again, or export anew"
        )


def _read_description(path: Path, known: Mapping[str, Any]) -> ExportDescription:
    """Return what values, or their JSON, say of a file."""
    if not ExportDescription.model_fields.keys() & known.keys():
        raise UsageFault(f"{path} is no file of `segzoo export`: nothing in it or beside it describes its model")
    try:
        return ExportDescription.model_validate_json(json.dumps({key: _value(known[key]) for key in known}))
    except ValidationError as error:
        reason = explain(error, ExportDescription, None)
        raise UsageFault(f"{path} is no file of `segzoo export`, or one of an older version: {reason}") from None


def _value(found: object) -> object:
    """Return what a text of an ONNX file's metadata stands for: JSON, or itself."""
    if not isinstance(found, str):
        return found
    try:
        return json.loads(found)
    except ValueError:
        return found
