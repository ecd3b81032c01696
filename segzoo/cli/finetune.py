"""``segzoo finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segzoo.cli.recipe import RecipeArgument, SetOption, read_recipe
from segzoo.recipe import recipe_json
from segzoo.runtime.launch import follows


def finetune(
    recipe: RecipeArgument,
    out: Annotated[Path | None, typer.Option(help="Run directory; runs/<name> where absent.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
    set_: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run, exactly.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run that is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check recipe, model, device and data folder.")] = False,
) -> None:
    """Train a model as a recipe says, into a run directory with checkpoints and a report."""
    # What --resume goes on with may need no weights; the run itself looks for them where it does.
    resolved = read_recipe(recipe, set_, find_weights=dry_run or not resume)
    # Both modules start without torch: it is imported once the run directory is locked.
    if dry_run:
        from segzoo.training.dry_run import check_run

        parameters = check_run(resolved, device=device)
        if follows():
            return
        typer.echo(recipe_json(resolved), nl=False)
        typer.echo(f"{resolved.model.name}: {parameters:,} parameters", err=True)
        return
    from segzoo.training.finetune import finetune as run_recipe

    run = run_recipe(resolved, out=out, device=device, resume=resume, overwrite=overwrite)
    if follows():
        return
    for label, path in (("run", run.folder), ("report", run.report), ("samples", run.samples), ("model", run.model)):
        typer.echo(f"{label + ':':<9}{path}")
