"""``segzoo export``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from segzoo.cli.output import Json, print_rows, print_table
from segzoo.errors import UsageFault
from segzoo.export.form import IMAGES, MAX_MIOU_LOSS, Form, Format, check_target, check_writable
from segzoo.export.parity_report import ExportReport, OutputComparison, ParityError
from segzoo.files import write_atomic
from segzoo.page import UNKNOWN, count, decimal
from segzoo.recipe import load_recipe


def export(
    source: Annotated[
        str, typer.Argument(metavar="RUN", help="A run, a folder with model.json, or hf-hub:owner/name.")
    ],
    out: Annotated[Path, typer.Option(help="File to write: .onnx, or .pt2 for torch's formats.")],
    format: Annotated[
        Format, typer.Option(help="What it is to run in: onnxruntime, torch, or torch compiled.")
    ] = "onnx",
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Leave batch, height and width open.")] = False,
    half: Annotated[bool, typer.Option("--half", help="Weights and arithmetic in float16.")] = False,
    quantize: Annotated[str | None, typer.Option(help="int8: weights and activations of 8 bits (ONNX).")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="Where validation images are; the run's own recipe if absent.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Validation images to compare at most.")] = IMAGES,
    max_miou_loss: Annotated[
        float | None, typer.Option(min=0, max=1, help="Loss of mIoU, 0 to 1, that --half or --quantize may cost; 0.01.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the whole report as JSON.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a trained model to a file that runs without segzoo, and prove on real images that it says the same.

    Where the file and the model differ by more than is tolerated, no file is kept and the exit code is 1.
    """
    form = _form(format, half=half, quantize=quantize, dynamic=dynamic)
    if form.exact and max_miou_loss is not None:
        raise UsageFault("--max-miou-loss is for --half and --quantize; without them logits have to agree")
    check_target(out, form, overwrite=overwrite)
    if report is not None:
        check_writable(report, overwrite=overwrite)
        if os.path.realpath(report) in map(os.path.realpath, (out, out.with_name(f"{out.name}.json"))):
            raise UsageFault(f"--report {report} would replace what is exported; choose another name")
    recipe = None if data is None else load_recipe(data)
    from segzoo.export.model import export_model  # torch starts here
    from segzoo.runtime.signals import StopRequest, stop_on_signals

    try:
        with stop_on_signals(StopRequest()):
            found = export_model(
                source,
                out,
                form,
                recipe=recipe,
                images=images,
                max_miou_loss=MAX_MIOU_LOSS if max_miou_loss is None else max_miou_loss,
                overwrite=overwrite,
            )
    except ParityError as error:
        _tell(error.report, report, as_json=as_json)
        raise
    _tell(found, report, as_json=as_json)


def _form(format: Format, *, half: bool, quantize: str | None, dynamic: bool) -> Form:
    if half and quantize is not None:
        raise UsageFault("--half and --quantize are two kinds of numbers; choose one")
    if quantize not in (None, "int8"):
        raise UsageFault(f"--quantize makes int8, got {quantize!r}")
    return Form(format, "fp16" if half else "int8" if quantize else "fp32", dynamic)


def _tell(found: ExportReport, path: Path | None, *, as_json: bool) -> None:
    """Print what was found, then write it: a disk that is full takes nothing from what is printed."""
    if as_json:
        print_rows([found.model_dump(mode="json")])
    else:
        _print(found)
    if path is not None:
        write_atomic(path, found.model_dump_json(indent=2) + "\n")


def _print(found: ExportReport) -> None:
    header = ("size", "images", "max difference", "undecided", "labels changed", "mIoU", "exported", "lost")
    print_table(header, [_cells(each) for each in found.comparisons])
    if found.speed is not None:
        speed = found.speed
        typer.echo(
            f"speed: {speed.fp32_ms:.2f} ms in float32, {speed.int8_ms:.2f} ms in int8, {speed.speed_up:.2f} times as "
            f"fast, one image of {speed.size[0]}x{speed.size[1]} on {speed.threads} thread of this CPU"
        )
    if not found.faults:
        typer.echo(f"file:  {found.file} ({count(found.bytes)} bytes)")


def _cells(found: OutputComparison) -> tuple[str, ...]:
    return (
        f"{found.size[0]}x{found.size[1]}",
        count(found.images),
        UNKNOWN if found.decided_difference is None else f"{found.decided_difference:.2g}",
        f"{found.undecided:.4%}",
        f"{found.changed:.4%}",
        decimal(found.mean_iou, 4),
        decimal(found.exported_mean_iou, 4),
        decimal(found.miou_lost, 4),
    )
