"""``segzoo runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from segzoo.cli.output import Json, print_rows, print_table
from segzoo.page import UNKNOWN, count, decimal, duration, percent
from segzoo.runs.table import compare_runs, find_runs


def runs(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder of runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Compare the runs in a folder: score, size, speed and time of each.

    `segzoo finetune RUN/recipe.json --out RUN --resume` goes on with one that was interrupted, killed or failed.
    """
    rows = compare_runs(find_runs(folder))
    if as_json:
        print_rows(rows)
        return
    header = ("run", "model", "status", "mIoU", "best", "epochs", "parameters", "images/s", "time", "device")
    print_table(header, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["run"],
        row["model"] or UNKNOWN,
        row["status"],
        percent(row["mean_iou"]),
        count(row["best_epoch"]),
        f"{row['epochs']} of {count(row['planned_epochs'])}",
        count(row["parameters"]),
        decimal(row["images_per_second"], 1),
        duration(row["seconds"]),
        row["device"] or UNKNOWN,
    )
