"""Results as a page, as CSV and as Markdown.

This module needs no torch, unless the modules of models are to be counted.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from segzoo.bench.accuracy import Accuracy, accuracies
from segzoo.bench.rows import Row
from segzoo.bench.scatter import Chart, Scored, draw_scatter
from segzoo.bench.selection import runs_of
from segzoo.bench.summary import CONVENTION, Summary, cells, header_for, state, summarise
from segzoo.errors import UsageFault
from segzoo.files import write_atomic
from segzoo.page import count, decimal, own_script, percent, render

if TYPE_CHECKING:
    from segzoo.analysis.anatomy import Anatomy

SUFFIXES = (".html", ".csv", ".md")

_TEXT = ("model", "mode", "kind", "bound", "status")
_SORTED_BY = {
    "model": "model",
    "mode": "mode",
    "kind": "kind",
    "batch": "batch_size",
    "parameters": "parameters",
    "GMACs": "gmacs",
    "ms": "latency_ms",
    "images/s": "images_per_second",
    "memory": "memory_allocated",
    "floor": "floor_share",
    "bound": "bound",
    "launch overhead": "launch_overhead",
    "status": "status",
}


@dataclass(frozen=True)
class Cell:
    """One cell of the page's table.

    Args:
        text: What it shows.
        value: What it is sorted by; empty where it is not known.
        kind: Its classes in CSS.
        note: What is told where the mouse rests.
    """

    text: str
    value: str
    kind: str
    note: str = ""


def write_reports(
    rows: Sequence[Row],
    paths: Sequence[Path],
    *,
    models: Sequence[str] = (),
    modules: bool = False,
    receptive_fields: bool = False,
) -> list[Path]:
    """Write a report in the format that each path ends in, and return the paths.

    Args:
        rows: What was measured.
        paths: Files that end in .html, .csv or .md; those that exist are replaced.
        models: Names and globs of the models to show, all without any; run directories, or globs of them, are shown
            where they were measured, and add their mIoU.
        modules: Whether the page shows what the modules of the models cost, for which they are built.
        receptive_fields: Whether it shows receptive fields beside them, which takes seconds for each model.

    Raises:
        UsageFault: If there are no rows to show, or a path has another ending or no folder.
    """
    for path in paths:
        _must_be_writable(path)
    runs = {name: runs_of(name) for name in models}
    named = list(chain.from_iterable(runs.values()))
    summaries = summarise(_chosen(rows, [name for name, found in runs.items() if not found], named))
    scored = accuracies(dict.fromkeys(summary.model for summary in summaries), named)
    inside = modules and any(path.suffix == ".html" for path in paths)
    anatomies = _anatomies(summaries, fields=receptive_fields) if inside else []
    for path in paths:
        if path.suffix == ".html":
            text = page(rows, summaries, scored, anatomies)
        else:
            text = to_csv(summaries, scored) if path.suffix == ".csv" else to_markdown(summaries, scored)
        write_atomic(path, text)
    return list(paths)


def to_csv(summaries: Sequence[Summary], scored: Mapping[str, Accuracy]) -> str:
    """Return one line for each measurement, with every figure as it is; unknown ones are empty."""
    stream = io.StringIO()
    names = [field.name for field in fields(Summary)]
    writer = csv.DictWriter(stream, [*names, "mean_iou", "run"], lineterminator="\n")
    writer.writeheader()
    for summary in summaries:
        found = scored.get(summary.model)
        writer.writerow(
            {**summary.fields(), "mean_iou": found.mean_iou if found else None, "run": found.run if found else None}
        )
    return stream.getvalue()


def to_markdown(summaries: Sequence[Summary], scored: Mapping[str, Accuracy]) -> str:
    """Return a table for people, below the convention of its counts."""
    columns = header_for(summaries)
    header = [*columns, *(["mIoU"] if scored else [])]
    lines = [f"{CONVENTION}. Input {', '.join(_inputs(summaries))}.", "", _line(header), _line(["---"] * len(header))]
    for summary in summaries:
        found = scored.get(summary.model)
        shown = cells(summary)
        score = [percent(found.mean_iou if found else None)] if scored else []
        lines.append(_line([*(shown[name] for name in columns), *score]))
    return "\n".join(lines) + "\n"


def page(
    rows: Iterable[Row], summaries: Sequence[Summary], scored: Mapping[str, Accuracy], anatomies: Sequence[Anatomy]
) -> str:
    """Return the self-contained page.

    Args:
        rows: Of which environments the figures are.
        summaries: The figures.
        scored: The scores of models.
        anatomies: What is known of the models' modules.
    """
    columns = header_for(summaries)
    header = [*columns, *(["mIoU"] if scored else [])]
    environments = {row.environment_key: row.environment for row in rows}
    return render(
        "bench.html.j2",
        script=own_script("bench.js"),
        convention=f"{CONVENTION}; input {', '.join(_inputs(summaries))}",
        columns=[{"name": name, "number": name not in _TEXT} for name in header],
        rows=[_row(summary, columns, scored) for summary in summaries],
        charts=charts(summaries, scored),
        failures=[(f"{each.model}, {each.mode}, {each.batch_size}", each.error) for each in summaries if each.error],
        anatomies=[_drawn(anatomy) for anatomy in anatomies],
        environments=[_facts(environment) for environment in environments.values()],
    )


def charts(summaries: Sequence[Summary], scored: Mapping[str, Accuracy]) -> list[Chart]:
    """Return the scatters of mIoU over the shortest latency of one image, multiply-accumulates and parameters."""
    costs: dict[str, dict[str, float]] = {"ms for one image": {}, "GMACs": {}, "million parameters": {}}
    for summary in summaries:
        alone = summary.latency_ms if summary.kind != "throughput" else None
        sizes = (alone, summary.gmacs, summary.parameters and summary.parameters / 1e6)
        for known, cost in zip(costs.values(), sizes, strict=True):
            if cost:
                known[summary.model] = min(cost, known.get(summary.model, cost))
    return [
        draw_scatter(name, points)
        for name, known in costs.items()
        if (points := [Scored(model, known[model], scored[model].mean_iou) for model in scored if model in known])
    ]


def _must_be_writable(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise UsageFault(f"a report must end in {' or '.join(SUFFIXES)}, got {str(path)!r}")
    if path.is_dir() or not path.parent.is_dir():
        raise UsageFault(f"{path} is a folder" if path.is_dir() else f"the folder {path.parent} does not exist")


def _chosen(rows: Sequence[Row], patterns: Sequence[str], runs: Sequence[str]) -> list[Row]:
    """Return the rows of models that a pattern fits, and of runs that are named; without patterns all."""
    chosen = [
        row for row in rows if not patterns or row.model in runs or any(_fits(row.model, one) for one in patterns)
    ]
    if not chosen:
        raise UsageFault(
            f"no measured model matches {', '.join(patterns)}"
            if rows
            else "the results hold no rows: nothing to report"
        )
    return chosen


def _fits(model: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(model if "/" in pattern else model.rpartition("/")[2], pattern)


def _anatomies(summaries: Sequence[Summary], *, fields: bool) -> list[Anatomy]:
    # torch starts here.
    from segzoo.analysis.anatomy import examine

    good = [summary for summary in summaries if summary.status == "ok"]
    sizes = {summary.model: (summary.input[1], summary.input[2]) for summary in good}
    return [anatomy for model, size in sizes.items() for anatomy in examine([model], size, fields=fields)]


def _row(summary: Summary, columns: Sequence[str], scored: Mapping[str, Accuracy]) -> list[Cell]:
    values, shown, found = summary.fields(), cells(summary), []
    for name in columns:
        text = shown[name]
        value = values[_SORTED_BY[name]]
        if name == "memory":
            value = summary.memory_allocated or summary.memory_reserved
        kind = "" if name in _TEXT else "number"
        if name == "status":
            kind = "" if text == "ok" else "warn" if summary.status == "ok" else "bad"
        found.append(Cell(text, "" if value is None else str(value), kind, _note(name, summary)))
    if scored:
        score = scored.get(summary.model)
        note = f"of {score.run}" if score else ""
        found.append(
            Cell(percent(score.mean_iou if score else None), str(score.mean_iou) if score else "", "number", note)
        )
    return found


def _note(column: str, summary: Summary) -> str:
    if column == "status":
        return summary.error or ("" if state(summary) == "ok" else "the interval was wide when the time was up")
    if column == "ms" and summary.fastest_ms is not None:
        spread = f"{decimal(summary.fastest_ms, 3)} to {decimal(summary.slowest_ms, 3)}"
        return f"{spread} in {summary.processes} process{'es' * (summary.processes != 1)}"
    if column == "floor" and summary.floor_ms is not None:
        return f"the machine's peaks allow {decimal(summary.floor_ms, 3)} ms"
    return ""


def _drawn(anatomy: Anatomy) -> dict[str, object]:
    return {
        "model": anatomy.model,
        "receptive_field": anatomy.receptive_field,
        "bars": [
            {
                "name": module.name,
                "share": percent(module.gmacs / anatomy.gmacs if anatomy.gmacs else 0.0),
                "gmacs": decimal(module.gmacs, 3),
                "parameters": count(module.parameters),
            }
            for module in anatomy.modules
        ],
    }


def _facts(environment: Mapping[str, object]) -> list[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in environment.items()
    ]


def _inputs(summaries: Sequence[Summary]) -> list[str]:
    return sorted({str(summary.fields()["input"]) for summary in summaries})


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(word.split()).replace('|', chr(92) + '|') for word in words)} |"
