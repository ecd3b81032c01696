"""``segzoo lr-find``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segzoo.cli.recipe import RecipeArgument, SetOption, read_recipe
from segzoo.errors import UsageFault

PICTURES = (".png", ".svg", ".pdf")


def lr_find(
    recipe: RecipeArgument,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
    set_: SetOption = None,
    start: Annotated[float, typer.Option(help="First learning rate.")] = 1e-7,
    end: Annotated[float, typer.Option(help="Last learning rate.")] = 1.0,
    steps: Annotated[int, typer.Option(min=10, help="Optimizer steps.")] = 100,
    out: Annotated[Path, typer.Option(help="Picture of the loss over the learning rate.")] = Path("lr-find.png"),
) -> None:
    """Train with a growing learning rate, draw the loss, and suggest optimizer.lr."""
    if not 0 < start < end:
        raise UsageFault(f"--start {start:g} must be above 0 and below --end {end:g}")
    if out.suffix not in PICTURES:
        raise UsageFault(f"--out {out}: the name of the picture must end in {' or '.join(PICTURES)}")
    if not out.parent.is_dir():
        raise UsageFault(f"--out {out}: there is no folder {out.parent}")
    resolved = read_recipe(recipe, set_)
    from segzoo.training.trials.lr_find import draw_range_test, find_learning_rate

    test = find_learning_rate(resolved, device=device, start=start, end=end, steps=steps)
    draw_range_test(out, test.rates, test.losses, test.suggestion)
    typer.echo(f"optimizer.lr={test.suggestion:.2g}")
    typer.echo(
        f"the picture is {out}; a tenth of the rate at which the loss is lowest is a common choice too", err=True
    )
