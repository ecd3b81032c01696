"""Torch's own formats: an exported program, and what its compiler makes of one for this machine's CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from segzoo.errors import EnvironmentFault, SegzooError
from segzoo.export.tracing import DIMENSIONS, check_dimensions, evaluation, example
from segzoo.inference.exported import first_cause, quiet_runtimes


def export_program(
    model: nn.Module, *, in_channels: int, size: tuple[int, int], dynamic: Collection[str] = tuple(DIMENSIONS)
) -> ExportedProgram:
    """Return a model, as it is in evaluation mode, as a program of torch; the model is left in the mode it was in.

    Args:
        model: The model.
        in_channels: Channels of the image.
        size: Height and width of the image, which the program keeps where they are not open.
        dynamic: The dimensions left open, of ``batch``, ``height`` and ``width``; a batch that is not is one image.

    Raises:
        UnknownName: If ``dynamic`` names no dimension.
        SegzooError: If the model cannot be exported in this way.
    """
    check_dimensions(dynamic)
    image = example(model, in_channels, size, dynamic)
    axes = {DIMENSIONS[name]: Dim.DYNAMIC for name in dynamic}
    try:
        with evaluation(model), quiet_runtimes(), torch.no_grad():
            return torch.export.export(model, (image,), dynamic_shapes=(axes,))
    except Exception as error:  # torch raises whatever a model's code raises
        raise SegzooError(f"the model cannot be exported: {first_cause(error)}") from error


def smallest_side(program: ExportedProgram, *, in_channels: int, size: tuple[int, int], least: int) -> int:
    """Return the smallest height and width that a program takes.

    Tracing leaves conditions in it that exclude sizes which the model takes, such as those at which the result of a
    layer is one pixel high.

    Args:
        program: The program.
        in_channels: Channels of the image.
        size: Height and width that the program was made with, which it takes.
        least: The model's own smallest side.
    """
    run = program.module()
    for side in range(least, min(size)):
        with torch.no_grad(), contextlib.suppress(AssertionError, RuntimeError):  # a condition that does not hold
            for height, width in ((side, side), (side, size[1]), (size[0], side)):
                run(torch.zeros(1, in_channels, height, width))
            return side
    return min(size)


def save_program(program: ExportedProgram, path: Path) -> None:
    """Write a program to a ``.pt2`` file."""
    with quiet_runtimes():
        torch.export.save(program, path)


def compile_program(program: ExportedProgram, path: Path) -> None:
    """Compile a program for this machine's CPU into a ``.pt2`` package.

    Raises:
        EnvironmentFault: If there is no C++ compiler.
        SegzooError: If the program cannot be compiled.
    """
    require_compiler()
    try:
        with quiet_runtimes():
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    except Exception as error:  # the compiler raises its own and torch's
        raise SegzooError(f"the model cannot be compiled: {first_cause(error)}") from error


def require_compiler() -> None:
    """Make sure that there is a C++ compiler, which the format ``aoti`` needs.

    Raises:
        EnvironmentFault: If torch finds none.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise EnvironmentFault(
            "the format aoti needs a C++ compiler, and none was found: install g++ or clang++, or let CXX name one; "
            "the formats onnx and torch-export need none"
        ) from None
