"""``segzoo push``."""

from __future__ import annotations

from typing import Annotated

import typer

from segzoo.page import count


def push(
    source: Annotated[str, typer.Argument(metavar="RUN", help="Run directory, or a folder with a trained model.")],
    target: Annotated[str, typer.Argument(metavar="hf-hub:OWNER/NAME", help="Repository of the Hugging Face hub.")],
    license: Annotated[
        str | None,
        typer.Option(metavar="SPDX", help="License of the weights, such as CC-BY-4.0; absent states none."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the model card, and send nothing.")] = False,
) -> None:
    """Publish a trained model with its description and a model card on the Hugging Face hub."""
    from segzoo.publish.push import CARD, collect_files, push_model

    if dry_run:
        files = collect_files(source, target, license=license)
        typer.echo(files[CARD].decode(), nl=False)
        typer.echo(
            f"not sent: {', '.join(f'{name} ({count(len(data))} bytes)' for name, data in files.items())}", err=True
        )
        return
    typer.echo(push_model(source, target, license=license, private=private))
