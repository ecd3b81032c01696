"""``segzoo check``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from segzoo.cli.complete import model_names
from segzoo.cli.output import Json, print_rows, print_table
from segzoo.errors import PluginError, SegzooError, UnknownName, UsageFault, did_you_mean
from segzoo.plugins import default_registry
from segzoo.registry import Entry, Registry

if TYPE_CHECKING:
    from segzoo.testing import Report

WILD = frozenset("*?[")


class _Line(NamedTuple):
    """What is said of one check of a model, or of the model where ``check`` is None."""

    model: str
    check: str | None
    status: str
    detail: str


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Ids, bare names or globs.", autocompletion=model_names),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Check every model, plugins' too.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Only the checks that compute next to nothing.")] = False,
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Only this check; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Run the contract kit: what every model must keep, from strict parameters to the ONNX export."""
    entries = _chosen(default_registry(), names or (), every=all_)
    reports, broken = _run(entries, quick=quick, only=only or ())
    if as_json:
        print_rows([line._asdict() for line in (*(line for report in reports for line in _lines(report)), *broken)])
    else:
        shown = [line for report in reports for line in (_summary(report), *_lines(report)) if line.status != "passed"]
        print_table(_Line._fields, [(line.model, line.check or "-", *line[2:]) for line in (*shown, *broken)])
    ran, total = sum(report.ran for report in reports), sum(report.total for report in reports)
    typer.echo(f"{ran}/{total} checks ran", err=as_json)
    failed = [report.model for report in reports if not report.ok] + [line.model for line in broken]
    if failed:
        raise SegzooError(f"{len(failed)} of {len(entries)} models break the contract: {', '.join(failed)}")


def _chosen(registry: Registry, names: Sequence[str], *, every: bool) -> list[Entry]:
    """Return the models that were asked for; one that is named must be there and whole.

    Raises:
        UsageFault: If nothing is asked for, or too much, or a glob matches nothing.
        PluginError: If a plugin that is named is broken.
    """
    if every and names:
        raise UsageFault("name the models to check or pass --all, not both")
    if not every and not names:
        raise UsageFault("name the models to check, or pass --all")
    chosen = [*registry] if every else [entry for name in names for entry in _named(registry, name)]
    return list(dict.fromkeys(chosen))


def _named(registry: Registry, name: str) -> list[Entry]:
    if not WILD & set(name):
        entry = registry.resolve(name)
        entry.spec()
        return [entry]
    found = [registry.resolve(row.id) for row in registry.list(name)]
    if not found:
        raise UsageFault(f"no model matches {name!r}.{did_you_mean(name, registry.names())}")
    return found


def _run(entries: Sequence[Entry], *, quick: bool, only: Sequence[str]) -> tuple[list[Report], list[_Line]]:
    """Return a report of each model, and a line for each plugin that is broken."""
    from segzoo.testing import CHECKS, check_model, select  # torch starts here, when the models are known to exist

    try:
        select(quick=quick, only=only)  # a wrong name is told before the first model
    except UnknownName as error:
        raise UsageFault(f"{error} The checks are {', '.join(CHECKS)}") from None
    reports: list[Report] = []
    broken: list[_Line] = []
    for number, entry in enumerate(entries, start=1):
        typer.echo(f"{number}/{len(entries)} {entry.id}", err=True)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # a model's code may print
                reports.append(check_model(entry.id, quick=quick, only=only))
        except PluginError as error:
            broken.append(_Line(entry.id, None, "broken", str(error)))
    return reports, broken


def _summary(report: Report) -> _Line:
    return _Line(report.model, None, "ok" if report.ok else "failed", f"{report.ran}/{report.total} checks ran")


def _lines(report: Report) -> list[_Line]:
    return [_Line(report.model, row.check, row.status, row.detail) for row in report.rows]
