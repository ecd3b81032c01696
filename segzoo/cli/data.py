"""``segzoo data check|show``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segzoo.cli.complete import recipe_names
from segzoo.cli.output import SCHEMA_VERSION, Json, plain, print_table
from segzoo.cli.recipe import RecipeArgument, SetOption, read_recipe
from segzoo.errors import SegzooError, UsageFault, did_you_mean
from segzoo.files import write_atomic
from segzoo.recipe.shipped import shipped_recipes

if TYPE_CHECKING:
    from segzoo.data.doctor.diagnosis import Diagnosis
    from segzoo.data.examine import Watch

app = typer.Typer(no_args_is_help=True, help="Look for faults in data, and at what augmentation makes of it.")

SPLITS = ("split", "samples", "height", "width", "ignored", "mean", "std")


@app.command("check")
def check(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|FOLDER",
            help="A recipe as for finetune, or a folder of images and masks without one.",
            autocompletion=recipe_names,
        ),
    ],
    set_: SetOption = None,
    as_json: Json = False,
) -> None:
    """Read all images and masks, list every fault, and propose what a recipe could gain."""
    folder = Path(recipe)
    if not folder.exists() and folder.suffix != ".json" and recipe not in shipped_recipes():
        raise UsageFault(f"there is neither a folder nor a recipe {recipe!r}.{did_you_mean(recipe, shipped_recipes())}")
    if folder.is_dir() and set_:
        raise UsageFault(f"--set changes keys of a recipe, and {recipe} is a folder")
    resolved = None if folder.is_dir() else read_recipe(recipe, set_)
    # numpy starts here, when the recipe is known to be good.
    from segzoo.data.doctor.diagnosis import diagnose_folder, diagnose_recipe

    with _bars() as watch:
        diagnosis = diagnose_folder(folder, watch=watch) if resolved is None else diagnose_recipe(resolved, watch=watch)
    if as_json:
        document = {"schema_version": SCHEMA_VERSION, "rows": diagnosis.rows(), "summary": diagnosis.summary()}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print(diagnosis)
    _fail_on(diagnosis)


@app.command("show")
def show(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.png", help="The picture to write.")],
    set_: SetOption = None,
    split: Annotated[str, typer.Option(help="The split to show.")] = "train",
    count: Annotated[int, typer.Option(min=1, max=100, help="How many samples, spread over the split.")] = 4,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the augmentation; absent is train.seed, as the first epoch has.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Draw samples before and after augmentation, as the first epoch sees them, with masks and a legend."""
    if out.suffix.lower() != ".png":
        raise UsageFault(f"--out must end in .png, got {str(out)!r}")
    if out.is_dir() or (out.exists() and not overwrite):
        raise UsageFault(f"{out} exists; choose another name{'' if out.is_dir() else ', or pass --overwrite'}")
    if not out.parent.is_dir():
        raise UsageFault(f"the folder {out.parent} does not exist")
    resolved = read_recipe(recipe, set_)
    from segzoo.data.drawing import draw_recipe

    write_atomic(out, draw_recipe(resolved, split=split, count=count, seed=seed))
    typer.echo(out)


@contextmanager
def _bars() -> Iterator[Watch]:
    """Yield what shows a bar for each task, where stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    hidden = plain(sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bars:

        def watch(task: str, total: int) -> Callable[[], None]:
            number = bars.add_task(task, total=total)
            return lambda: bars.advance(number)

        yield watch


def _print(diagnosis: Diagnosis) -> None:
    """Print findings, splits, classes, remarks and the fragment, each apart from the next by an empty line."""
    rows = diagnosis.rows()
    if rows:
        cells = [[row["kind"], row["split"] or "-", row["file"], row["message"]] for row in rows]
        print_table(("kind", "split", "file", "message"), [[str(cell) for cell in line] for line in cells])
        typer.echo()
    summary = diagnosis.summary()
    if summary["findings"]:
        print_table(("kind", "findings"), [(kind, str(count)) for kind, count in sorted(summary["findings"].items())])
        typer.echo()
    splits = summary["splits"]
    if splits:
        print_table(SPLITS, [_split_row(split, facts) for split, facts in splits.items()])
        typer.echo()
        print_table(("class", *splits), _class_rows(summary))
        typer.echo()
    if summary["labels"]:
        print_table(("label", "masks"), [(label, str(count)) for label, count in summary["labels"].items()])
        typer.echo()
    for remark in summary["remarks"]:
        typer.echo(f"note: {remark}")
    if summary["fragment"]:
        typer.echo(_compact(json.dumps(summary["fragment"], indent=2, ensure_ascii=False)))


def _compact(text: str) -> str:
    """Put the innermost lists and objects of indented JSON on one line each."""
    # Line breaks in strings are escaped, so that those of the layout are all there are.
    return re.sub(
        r"([\[{])\n *([^\[\]{}]*?)\n *([\]}])", lambda match: re.sub(r"\n *", " ", "".join(match.groups())), text
    )


def _split_row(split: str, facts: dict[str, Any]) -> list[str]:
    sizes = ["/".join(map(str, facts[side])) for side in ("height", "width")]
    values = [" ".join(f"{value:.3f}" for value in facts[name]) for name in ("mean", "std")]
    return [split, str(facts["samples"]), *sizes, f"{facts['ignored_share']:.2%}", *values]


def _class_rows(summary: dict[str, Any]) -> list[list[str]]:
    shares = [facts["class_shares"] for facts in summary["splits"].values()]
    return [[name, *(f"{share[name]:.3%}" for share in shares)] for name in summary["classes"]]


def _fail_on(diagnosis: Diagnosis) -> None:
    """End with exit code 1 where there are findings.

    Raises:
        SegzooError: If there is one.
    """
    findings = diagnosis.checkup.findings
    if findings:
        files = len({finding.file for _, finding in findings})
        raise SegzooError(f"{len(findings)} finding{'s' * (len(findings) > 1)} in {files} file{'s' * (files > 1)}")
