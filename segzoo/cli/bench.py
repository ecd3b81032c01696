"""``segzoo bench``, ``bench compare``, ``bench report``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from segzoo.bench.rows import Row, Settings, planned, read_rows
from segzoo.bench.selection import choose_models
from segzoo.bench.summary import CONVENTION, cells, header_for, summarise
from segzoo.cli.output import Json, print_rows, print_table
from segzoo.cli.sizes import read_size
from segzoo.errors import Interrupted, SegzooError, UsageFault
from segzoo.messages import explain

if TYPE_CHECKING:
    from segzoo.bench.compare import Comparison, Comparisons

app = typer.Typer(invoke_without_command=True, help="Measure what models cost, compare results, and draw a report.")

QUICK_SIZE, SIZE = "128x128", "512x512"
QUICK_BATCHES, BATCHES = "1", "1,8,32"
QUICK_REPEATS, REPEATS = 1, 3
QUICK_SAMPLING = {"min_samples": 10, "min_seconds": 0.1, "max_seconds": 1.0}

COMPARED = ("model", "mode", "kind", "batch", "before ms", "after ms", "ratio", "95 % interval", "verdict")

Results = Annotated[list[Path], typer.Argument(metavar="RESULTS.jsonl...", help="Files that segzoo bench has written.")]


@app.callback()
def bench(
    context: typer.Context,
    models: Annotated[str, typer.Option(help="Names, globs, ids and run directories, separated by commas.")] = "*",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")] = "auto",
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help=f"Image size; {SIZE}, and {QUICK_SIZE} with --quick.")
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help=f"Batch sizes of the throughput; {BATCHES}, and {QUICK_BATCHES} with --quick.")
    ] = None,
    modes: Annotated[str, typer.Option(help="eager, channels_last, bf16, compile, graph, best.")] = "eager",
    repeats: Annotated[
        int | None, typer.Option(min=1, help=f"Processes for each model; {REPEATS}, and {QUICK_REPEATS} with --quick.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, images and the order of the models.")] = 0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds in which a process must give its next row.")] = 600.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small images, few samples, one process for each model.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl", help="Where rows go, runs/bench/<time>.jsonl; what it has is not measured again."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure what models cost on this machine, each in processes of its own."""
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    settings = _settings(size, batch, modes, seed=seed, quick=quick)
    chosen = choose_models(_words(models, "--models"))
    path = out or Path("runs", "bench", f"{datetime.now(UTC):%Y%m%d-%H%M%S}.jsonl")
    _must_be_results(path)
    from segzoo.bench.probe import find_device
    from segzoo.bench.runner import Sweep, run_sweep

    repeats = repeats or (QUICK_REPEATS if quick else REPEATS)
    sweep = Sweep(chosen, settings, find_device(device), repeats, timeout)
    typer.echo(f"models: {len(chosen)}, each in {repeats} x {len(planned(settings))} measurements: {path}", err=True)
    rows = _interruptible(lambda: run_sweep(sweep, path), path)
    _print_rows(rows, as_json=as_json)
    if not any(row.status == "ok" for row in rows):
        raise SegzooError(f"nothing could be measured; {path} has the reasons, such as: {rows[0].error}")


@app.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(metavar="A.jsonl", help="The result to compare with.")],
    after: Annotated[Path, typer.Argument(metavar="B.jsonl", help="The result in question.")],
    threshold: Annotated[str, typer.Option(help="By how much times may differ and still be the same.")] = "3%",
    force: Annotated[bool, typer.Option("--force", help="Compare results of different environments.")] = False,
    as_json: Json = False,
) -> None:
    """Say of each measurement whether it became FASTER, SLOWER, stayed the SAME, or is AMBIGUOUS; SLOWER is exit 1."""
    share = _share(threshold)
    rows = read_rows(before), read_rows(after)
    # numpy starts here.
    from segzoo.bench.compare import compare_rows, differing_environments

    differences = differing_environments(*rows)
    if differences and not force:
        raise UsageFault(
            f"{before} and {after} are of different environments: {'; '.join(differences)}; --force compares"
        )
    compared = compare_rows(*rows, threshold=share)
    for difference in differences:
        typer.echo(f"warning: environments differ: {difference}", err=True)
    _print_comparisons(compared, as_json=as_json)
    _fail_on(compared)


@app.command("report")
def report(
    results: Results,
    models: Annotated[
        str | None, typer.Option(help="Only these models; run directories add their mIoU. Separated by commas.")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="A .html, .csv or .md file; may be repeated. Absent, all three beside the first results."),
    ] = None,
    modules: Annotated[
        bool, typer.Option("--modules/--no-modules", help="Count what the parts of each model cost; builds the models.")
    ] = True,
    receptive_fields: Annotated[
        bool, typer.Option("--receptive-fields", help="Find how far each model sees; takes seconds for each.")
    ] = False,
) -> None:
    """Write results as one page with table, charts and costs of modules, as CSV, and as Markdown."""
    paths = out or [results[0].with_suffix(suffix) for suffix in (".html", ".csv", ".md")]
    if overwritten := sorted(str(path) for path in paths if path in results):
        raise UsageFault(f"the report would replace the results {', '.join(overwritten)}; choose another --out")
    rows = [row for path in results for row in read_rows(path)]
    if receptive_fields and not modules:
        raise UsageFault("--receptive-fields are shown with the modules; leave --no-modules away")
    from segzoo.bench.report_page import write_reports

    chosen = _words(models, "--models") if models else ()
    for path in write_reports(rows, paths, models=chosen, modules=modules, receptive_fields=receptive_fields):
        typer.echo(path)


def _settings(size: str | None, batch: str | None, modes: str, *, seed: int, quick: bool) -> Settings:
    data = {
        "size": read_size(size or (QUICK_SIZE if quick else SIZE)),
        "batches": tuple(_batch(word) for word in _words(batch or (QUICK_BATCHES if quick else BATCHES), "--batch")),
        "modes": tuple(dict.fromkeys(_words(modes, "--modes"))),
        "seed": seed,
        "quick": quick,
        **(QUICK_SAMPLING if quick else {}),
    }
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise UsageFault(explain(error, Settings, data)) from None


def _batch(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise UsageFault(f"--batch must be sizes from 1 on, separated by commas, got {word!r}")
    return int(word)


def _words(text: str, option: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageFault(f"{option} must be words separated by commas, got {text!r}")
    return words


def _share(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text.strip())
    share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < share < 1:
        raise UsageFault(f"--threshold must lie between 0 and 100%, such as 3% or 0.03, got {text!r}")
    return share


def _refuse_options(context: typer.Context) -> None:
    """Refuse options of the sweep before the name of another command, which would not act."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        names = ", ".join(f"--{'json' if name == 'as_json' else name}" for name in given)
        raise UsageFault(
            f"{names} before {context.invoked_subcommand!r} does nothing; write options behind the command"
        )


def _must_be_results(path: Path) -> None:
    if path.suffix != ".jsonl" or path.is_dir():
        raise UsageFault(f"--out must be a file whose name ends in .jsonl, got {str(path)!r}")


def _interruptible(sweep: Callable[[], list[Row]], path: Path) -> list[Row]:
    """Run a sweep that SIGINT and SIGTERM end by name, its process with it."""
    from segzoo.runtime.signals import StopRequest, stop_on_signals

    try:
        with stop_on_signals(StopRequest()):
            return sweep()
    except Interrupted as stop:
        stop.args = (f"{stop}; the same command with --out {path} goes on",)
        raise


def _print_rows(rows: Sequence[Row], *, as_json: bool) -> None:
    if as_json:
        print_rows([row.model_dump(mode="json") for row in rows])
        return
    summaries = summarise(rows)
    columns = header_for(summaries)
    print_table(columns, [[cells(summary)[name] for name in columns] for summary in summaries])
    shapes = sorted({summary.fields()["input"] for summary in summaries})
    typer.echo(f"{CONVENTION}; input {', '.join(shapes)}", err=True)


def _print_comparisons(compared: Comparisons, *, as_json: bool) -> None:
    if as_json:
        print_rows([_comparison_row(found) for found in compared.found])
    else:
        print_table(COMPARED, [_comparison_cells(found) for found in compared.found])
        for reason in sorted({found.reason for found in compared.found if found.reason}):
            typer.echo(f"AMBIGUOUS: {reason}", err=True)
    if compared.unmatched:
        typer.echo(f"{compared.unmatched} measurements are in one of the two results alone", err=True)


def _comparison_row(found: Comparison) -> dict[str, object]:
    low, high = found.interval
    return {
        **found.what._asdict(),
        "before_ms": found.before,
        "after_ms": found.after,
        "ratio": found.ratio,
        "interval": [low, high],
        "processes": list(found.processes),
        "verdict": found.verdict,
        "reason": found.reason,
    }


def _comparison_cells(found: Comparison) -> tuple[str, ...]:
    what, (low, high) = found.what, found.interval
    times = (f"{found.before:.3f}", f"{found.after:.3f}", f"{found.ratio:.3f}", f"{low:.3f} to {high:.3f}")
    return (what.model, what.mode, what.kind, str(what.batch_size), *times, found.verdict)


def _fail_on(compared: Comparisons) -> None:
    """End with exit code 1 where something is slower, or gives no figures any more.

    Raises:
        SegzooError: If so.
    """
    faults = [f"{what.model} in {what.mode}, batch {what.batch_size}: {why}" for what, why in compared.lost.items()]
    slower = [found for found in compared.found if found.verdict == "SLOWER"]
    if slower:
        faults.insert(0, f"{len(slower)} of {len(compared.found)} measurements became slower")
    if faults:
        raise SegzooError("; ".join(faults))
