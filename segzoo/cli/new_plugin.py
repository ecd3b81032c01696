"""``segzoo new-plugin``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the package, such as acme-seg.")],
    out: Annotated[Path, typer.Option(help="Folder to write the package's folder into.")] = Path(),
) -> None:
    """Write a package that offers a model of yours: spec, network, tests, metadata."""
    from segzoo.skeleton import write_skeleton  # jinja2 starts here, not at `segzoo list`

    target = write_skeleton(name, out)
    typer.echo(target)
    model = f"{target.name}/{target.name.replace('-', '_')}"
    steps = (f"cd {target}", "pip install --editable '.[dev]'", "pytest", f"segzoo check {model}")
    typer.echo("next:\n" + "\n".join(f"  {step}" for step in steps), err=True)
