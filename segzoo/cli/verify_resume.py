"""``segzoo verify-resume``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from segzoo.cli.output import Json, print_rows, print_table
from segzoo.cli.recipe import RecipeArgument, SetOption, read_recipe
from segzoo.errors import SegzooError


def verify_resume(
    recipe: RecipeArgument,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
    set_: SetOption = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps of each run.")] = 6,
    as_json: Json = False,
) -> None:
    """Prove on a recipe that a run which is killed and resumed ends with the same bits."""
    resolved = read_recipe(recipe, set_)
    from segzoo.training.trials.verify import verify_resume as verify

    with tempfile.TemporaryDirectory(prefix="segzoo-verify-") as folder:
        differences = verify(resolved, Path(folder), device=device, steps=steps)
    if as_json:
        print_rows([difference._asdict() for difference in differences])
    elif differences:
        print_table(("what", "difference"), [tuple(difference) for difference in differences])
    if differences:
        raise SegzooError(
            f"{len(differences)} parts of the resumed run differ; kernels that are not deterministic are one cause: "
            "see train.deterministic"
        )
    typer.echo(
        f"equal to the bit: model, optimizer and metrics after {steps} steps, one kill and one resume", err=as_json
    )
