"""The tables that ``gpu_plan.py`` prints."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence

from gpu.part import Figure, Part, Setup, shown
from gpu.result import Result, read

VERDICTS = {None: "", True: "met", False: "MISSED"}


def summary(results: Sequence[Result]) -> str:
    """Return a line for each part, with its figures and reason below it."""
    rows = [("part", "status", "minutes", "figure", "value", "goal", "")]
    for result in results:
        first = (result.part, result.status, f"{result.seconds / 60:.1f}")
        cells = [(*_figure(figure), VERDICTS[figure.met]) for figure in result.figures] or [("", "", "", "")]
        rows += [(*(first if number == 0 else ("", "", "")), *row) for number, row in enumerate(cells)]
        if result.reason is not None:
            rows.append(("", "", "", result.reason, "", "", ""))
    return aligned(rows)


def listing(setup: Setup, parts: Sequence[Part], again: Collection[str]) -> str:
    """Return the plan: each part with its limit, whether it is done, and its commands."""
    lines = []
    for part in parts:
        before = read(setup, part)
        state = before.status if before is not None and part.name not in again else "to do"
        lines.append(f"{part.name:<21} at most {part.minutes:>4g} min  {state}")
        reason = part.lacks(setup)
        if reason is not None:
            lines.append(f"    skipped: {reason}")
            continue
        lines += [f"    {shlex.join(shown(words))}" for words in part.commands(setup, part.name)]
    return "\n".join([*lines, f"{len(parts)} parts, at most {sum(part.minutes for part in parts):g} minutes"])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns; the last cell of a line that says anything may be long."""
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    # A reason stands alone in its line, and must not widen its column.
    measured = [row for row in rows if any(row[4:]) or not any(row[3:])]
    widths = [max(len(row[column]) for row in measured) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _figure(figure: Figure) -> tuple[str, str, str]:
    sign = "<=" if figure.at_most else ">="
    value = "unknown" if figure.value is None else f"{figure.value:.4g}"
    return figure.what, value, "" if figure.goal is None else f"{sign} {figure.goal:g}"
