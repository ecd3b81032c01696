"""``segzoo push``."""

from __future__ import annotations

from typing import Annotated

import typer


def push(
    source: Annotated[str, typer.Argument(metavar="RUN", help="Run directory, or a folder with a trained model.")],
    target: Annotated[str, typer.Argument(metavar="hf-hub:OWNER/NAME", help="Repository of the Hugging Face hub.")],
    license: Annotated[
        str | None,
        typer.Option(metavar="SPDX", help="License of the weights, such as CC-BY-4.0; absent states none."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Publish a trained model with its description and a model card on the Hugging Face hub."""
    from segzoo.publish.push import push_model

    typer.echo(push_model(source, target, license=license, private=private))
