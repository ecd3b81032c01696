"""``segzoo list``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from packaging.utils import canonicalize_name

from segzoo.cli.output import Json, print_rows, print_table
from segzoo.errors import UnknownName, UsageFault, did_you_mean
from segzoo.plugins import default_registry
from segzoo.registry import ModelInfo


def list_models(
    pattern: Annotated[str, typer.Argument(help="Glob over names, or over ids where it has a '/'.")] = "*",
    tag: Annotated[list[str] | None, typer.Option(help="Only models with this tag; may be repeated.")] = None,
    family: Annotated[str | None, typer.Option(help="Only this family, such as scratch or smp.")] = None,
    origin: Annotated[str | None, typer.Option(help="Only models of this distribution, such as segzoo.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Only models with pretrained weights.")] = False,
    license_: Annotated[str | None, typer.Option("--license", help="Only models under this license.")] = None,
    as_json: Json = False,
) -> None:
    """List the models: built-in and from plugins."""
    registry = default_registry()
    rows = registry.list(pattern, tags=tag or (), family=family, origin=origin, pretrained=pretrained, license=license_)
    if not rows:
        hint = did_you_mean(pattern, registry.names())
        _refuse_unknown_filters(tag or (), family, origin, license_)
        filters = " with these filters" if any((tag, family, origin, pretrained, license_)) else ""
        raise UsageFault(f"no model matches {pattern!r}{filters}.{hint}")
    if as_json:
        print_rows([row.model_dump(mode="json") for row in rows])
    else:
        print_table(("model", "family", "status", "license", "summary"), [_cells(row) for row in rows])


def _refuse_unknown_filters(tags: Sequence[str], family: str | None, origin: str | None, license_: str | None) -> None:
    rows = default_registry().list()
    for tag in tags:
        _must_be_known("tag", tag, {name for row in rows for name in row.tags})
    if family is not None:
        _must_be_known("family", family, {row.family for row in rows if row.family})
    if origin is not None:
        _must_be_known("origin", canonicalize_name(origin), {row.distribution for row in rows})
    licenses = {row.license for row in rows if row.license}
    if license_ is not None and license_.lower() not in map(str.lower, licenses):
        _must_be_known("license", license_, licenses)


def _must_be_known(kind: str, name: str, known: set[str]) -> None:
    if name not in known:
        raise UnknownName(kind, name, known)


def _cells(row: ModelInfo) -> tuple[str, ...]:
    text = row.error if row.status == "broken" else row.summary
    return (row.id, row.family or "-", row.status, row.license or "-", text or "")
