"""The page, CSV and Markdown hold what was measured; the page works in a browser."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segzoo.analysis.anatomy import Anatomy, ModuleCost
from segzoo.bench.accuracy import Accuracy
from segzoo.bench.report_page import page, to_csv, to_markdown, write_reports
from segzoo.bench.rows import Row
from segzoo.bench.summary import summarise
from segzoo.errors import UsageFault

Make = Callable[..., Row]

ANATOMY = Anatomy("segzoo/a", 2.0, (ModuleCost("encoder", 10, 1.5), ModuleCost("head", 5, 0.5)), "196 pixels")
SCORES = {"segzoo/a": Accuracy("runs/a", "segzoo/a", 0.5), "x/<b>": Accuracy("runs/b", "x/<b>", 0.75)}


@pytest.fixture
def rows(make_row: Make) -> list[Row]:
    """Return rows of three models, one of which failed and one of which has a name like a tag."""
    return [
        make_row(model="segzoo/a", latency_ms=9.0, gmacs=2.0),
        make_row(model="segzoo/a", mode="bf16", latency_ms=4.5, gmacs=2.0, converged=False),
        make_row(model="x/<b>", latency_ms=100.0, gmacs=20.0),
        make_row(model="segzoo/c", failed=True, error="no | memory", gmacs=None),
    ]


def test_csv_keeps_every_figure(rows: list[Row]) -> None:
    """Numbers come back as they were; what is not known is empty."""
    read = list(csv.DictReader(io.StringIO(to_csv(summarise(rows), SCORES))))
    by_model = {(line["model"], line["mode"]): line for line in read}
    assert len(read) == 4
    assert float(by_model["segzoo/a", "bf16"]["latency_ms"]) == 4.5
    assert (by_model["x/<b>", "eager"]["mean_iou"], by_model["x/<b>", "eager"]["run"]) == ("0.75", "runs/b")
    failed = by_model["segzoo/c", "eager"]
    assert (failed["status"], failed["error"], failed["latency_ms"], failed["mean_iou"]) == (
        "oom",
        "no | memory",
        "",
        "",
    )


def test_markdown_is_a_table(make_row: Make, rows: list[Row]) -> None:
    """Every line has as many cells as the header, whatever a name holds, and the convention is told."""
    text = to_markdown(summarise([*rows, make_row(model="x/a|b")]), SCORES)
    assert text.startswith("GMACs (1 MAC = 2 FLOPs; conv + matmul), eval heads. Input 3x32x48.")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in lines} == {lines[0].count("|")}
    assert "| segzoo/a | bf16 | latency | 1 | 29.45 M | 2.00 | 4.500 | 100.0 | — | not converged | 50.0% |" in lines


def test_page_shows_text_of_others_as_text(rows: list[Row]) -> None:
    """A name like a tag is no tag, no script but the page's own is allowed, and nothing is fetched."""
    html = page(rows, summarise(rows), SCORES, [ANATOMY])
    assert "x/&lt;b&gt;" in html
    assert "<b>" not in html
    assert html.count("<script") == 1
    assert "script-src 'sha256-" in html
    assert "http" not in html.replace("http-equiv", "")


def test_page_has_everything(rows: list[Row]) -> None:
    """Figures, the reason of failures, modules, receptive field and environment are there."""
    html = page(rows, summarise(rows), SCORES, [ANATOMY])
    for text in (
        "9.000",
        "not converged",
        "no | memory",
        "encoder",
        "75.0%",
        "Receptive field: 196 pixels",
        "load_average",
    ):
        assert text in html


def test_page_shows_floors_where_they_are_known(make_row: Make) -> None:
    """What the peaks allow stands beside the time, and how long launching takes beside the graph."""
    peaks = {"bytes_per_second": 1e10, "flops_fp32": 1e11, "flops_bf16": 1e11, "launch_seconds": 1e-6}
    work = {
        "gmacs": 0.1,
        "bytes_moved": 10**6,
        "operations": 10,
        "device": "cuda",
        "environment": {"state": {"peaks": peaks}},
    }
    rows = [make_row(**work), make_row(mode="graph", kind="graph", latency_ms=4.0, **work)]
    html = page(rows, summarise(rows), {}, [])
    for text in ("20.0%", "50.0%", "compute-bound", "2.50x", "the machine&#39;s peaks allow 2.000 ms"):
        assert text in html
    assert "| graph | 1 | 29.45 M | 0.10 | 4.000 | 100.0 | — | 50.0% | compute-bound | 2.50x | ok |" in to_markdown(
        summarise(rows), {}
    )


def test_page_without_runs_has_no_chart(rows: list[Row]) -> None:
    """Cost against mIoU needs mIoU."""
    html = page(rows, summarise(rows), {}, [])
    assert "<svg" not in html
    assert "mIoU" not in html.split("</style>")[1]


def test_models_are_chosen(rows: list[Row], tmp_path: Path) -> None:
    """Patterns leave rows out, and a run adds its score to the model of its kind."""
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "model" / "model.json").write_text(json.dumps({"id": "segzoo/a", "metrics": {"mean_iou": 0.625}}))
    path = tmp_path / "out.csv"
    assert write_reports(rows, [path], models=["segzoo/*", str(run)]) == [path]
    read = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [(line["model"], line["mean_iou"]) for line in read] == [
        ("segzoo/a", "0.625"),
        ("segzoo/a", "0.625"),
        ("segzoo/c", ""),
    ]


def test_a_run_that_was_measured_is_shown_where_it_is_named(
    make_row: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naming runs never hides them, and hides other models only beside a pattern."""
    monkeypatch.chdir(tmp_path)
    Path("runs/x/model").mkdir(parents=True)
    Path("runs/x/model/model.json").write_text(json.dumps({"id": "segzoo/b", "metrics": {"mean_iou": 0.25}}))
    rows = [make_row(model=name) for name in ("runs/x", "segzoo/a", "segzoo/b")]

    def shown(*models: str) -> list[tuple[str, str]]:
        write_reports(rows, [tmp_path / "out.csv"], models=models)
        read = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text()))
        return [(line["model"], line["mean_iou"]) for line in read]

    assert shown("runs/*") == [("runs/x", "0.25"), ("segzoo/a", ""), ("segzoo/b", "0.25")]
    assert shown("runs/x", "a") == [("runs/x", "0.25"), ("segzoo/a", "")]
    assert shown("a") == [("segzoo/a", "")]


@pytest.mark.parametrize(
    ("name", "models", "message"),
    [
        ("out.pdf", (), r"must end in \.html or \.csv or \.md, got '.*out\.pdf'"),
        ("gone/out.csv", (), "the folder .*gone does not exist"),
        ("out.csv", ("nope*",), r"no measured model matches nope\*"),
    ],
)
def test_mistakes_are_named(name: str, models: tuple[str, ...], message: str, rows: list[Row], tmp_path: Path) -> None:
    """A wrong path or pattern is told with its value, and nothing is written."""
    with pytest.raises(UsageFault, match=message):
        write_reports(rows, [tmp_path / "first.csv", tmp_path / name], models=models)
    assert not list(tmp_path.iterdir())


def test_no_rows_is_an_error(tmp_path: Path) -> None:
    """A report of nothing is refused."""
    with pytest.raises(UsageFault, match="no rows"):
        write_reports([], [tmp_path / "a.csv"])


def test_page_in_a_browser(rows: list[Row], tmp_path: Path, browse: Callable[[Path], Any]) -> None:
    """A click sorts by number, a second one turns it round, unknown figures stay last, and words filter rows."""
    path = tmp_path / "page.html"
    path.write_text(page(rows, summarise(rows), SCORES, [ANATOMY]))
    browser = browse(path)
    names = "Array.from(document.querySelectorAll('#results tbody tr:not([hidden])'), row => row.cells[6].textContent)"
    button = "Array.from(document.querySelectorAll('#results button')).find(each => each.textContent == 'ms').click()"
    browser.evaluate(button)
    assert browser.evaluate(names) == ["4.500", "9.000", "100.000", "—"]
    browser.evaluate(button)
    assert browser.evaluate(names) == ["100.000", "9.000", "4.500", "—"]
    assert browser.evaluate("document.querySelector('th[aria-sort]').textContent") == "ms"
    typed = "filter.value = 'SEGZOO/a eager'; filter.dispatchEvent(new Event('input'))"
    browser.evaluate(f"{{const filter = document.getElementById('filter'); {typed}}}")
    assert browser.evaluate(names) == ["9.000"]
    assert browser.evaluate("document.getElementById('shown').textContent") == "1 of 4 rows"
    assert browser.evaluate("document.querySelectorAll('svg').length") == 3
    best = "Array.from(document.querySelectorAll('circle.best title'), each => each.textContent.split(':')[0])"
    assert browser.evaluate(best) == ["segzoo/a", "x/<b>"] * 2 + ["x/<b>"]
    widths = browser.evaluate("Array.from(document.querySelectorAll('.bars i'), bar => bar.style.width)")
    assert widths == ["75%", "25%"]
    assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.complaints() == []
    assert browser.requested() == [path.as_uri()]
