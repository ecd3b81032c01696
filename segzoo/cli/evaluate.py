"""``segzoo evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.cli.complete import recipe_names
from segzoo.cli.output import Json, print_rows, print_table
from segzoo.cli.progress import counting
from segzoo.cli.recipe import SetOption
from segzoo.errors import UsageFault
from segzoo.inference.description import find_model, is_exported, run_of
from segzoo.inference.method import read_augmentations
from segzoo.page import UNKNOWN, count, percent
from segzoo.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from segzoo.inference.score_files import Scores

COLUMNS = ("iou", "dice", "accuracy", "boundary_f1")
ORDER = (
    "mean_iou",
    "pixel_accuracy",
    "mean_class_accuracy",
    "mean_dice",
    "frequency_weighted_iou",
    "boundary_f1",
)


def evaluate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL", help="A run, a folder with model.json, hf-hub:owner/name, or an exported file."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="What to score on: the data and eval sections of a recipe; absent is the run's own.",
            autocompletion=recipe_names,
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="A split of the data; absent is eval.split.")] = None,
    tta: Annotated[str, typer.Option(metavar="LIST", help="Average over flip, scales, or flip,scales.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
    set_: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for scores and pictures; RUN/evaluation where absent.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a trained model: every metric with its passport, each class, and the worst images."""
    augmentations = read_augmentations(tta)
    run = None if is_exported(source) else run_of(find_model(source))
    folder = out or (None if run is None else run / "evaluation")
    recipe = _recipe(data, set_, run)
    # torch starts here, when nothing is left that could be told without it.
    from segzoo.inference.evaluation import evaluate as evaluate_model
    from segzoo.inference.score_files import UnwrittenError
    from segzoo.runtime.signals import StopRequest, stop_on_signals

    try:
        with stop_on_signals(StopRequest()), counting("scored") as watch:
            scores = evaluate_model(
                source, data=recipe, split=split, device=device, augmentations=augmentations, out=folder, watch=watch
            )
    except UnwrittenError as error:
        _tell(error.scores, as_json=as_json)
        raise
    _tell(scores, as_json=as_json)
    if folder is not None:
        typer.echo(f"scores and pictures are in {folder}", err=True)


def _recipe(data: str | None, overrides: list[str] | None, run: Path | None) -> Recipe | None:
    """Return the recipe that says what is scored, None for the run's own as it is."""
    for assignment in overrides or ():
        _must_act(assignment.partition("=")[0], run)
    if data is not None:
        return load_recipe(data, overrides or ())
    if not overrides:
        return None
    if run is None:
        raise UsageFault("--set changes keys of a recipe, and there is none; name one with --data")
    return load_recipe(run / "recipe.json", overrides)


def _must_act(key: str, run: Path | None) -> None:
    """Refuse to set what is not looked at: the model is there, and a run brings along how it is scored."""
    section = key.partition(".")[0]
    if section in ("data", "eval") or key == "train.seed" or (section == "train" and run is None):
        return
    acting = "data, eval and train" if run is None else "data, eval and train.seed, which draws splits,"
    raise UsageFault(f"--set {key} has no effect here: of a recipe, {acting} alone say how a model is scored")


def _tell(found: Scores, *, as_json: bool) -> None:
    """Print scores, classes and worst images, each apart from the next by an empty line."""
    row = found.row
    if as_json:
        print_rows([row])
        return
    scores, intervals = row["scores"], row["intervals"]
    print_table(
        ("score", "value", "95% interval"),
        [(name, percent(scores[name]), _interval(intervals[name])) for name in ORDER],
    )
    typer.echo()
    print_table(
        ("class", "IoU", "Dice", "accuracy", "boundary F1", "pixels"),
        [
            (name, *(percent(found[key]) for key in COLUMNS), count(found["pixels"]))
            for name, found in row["per_class"].items()
        ],
    )
    typer.echo()
    print_table(("worst images", "mIoU"), [(each["name"], percent(each["mean_iou"])) for each in row["worst"]])
    typer.echo(f"\n{found.model} on {found.passport.line}")


def _interval(ends: list[float | None]) -> str:
    return UNKNOWN if None in ends else f"{percent(ends[0])} to {percent(ends[1])}"
