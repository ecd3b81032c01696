"""``segzoo bench``: what is measured, compared and reported, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from segzoo.bench.rows import Row, Settings, append_row, read_rows

Invoke = Callable[..., Result]
Refuse = Callable[..., str]

FAKE = Path(__file__).parents[1] / "bench" / "fake_child.py"
KNOWN = {
    "model": "segzoo/segnet",
    "input": (3, 32, 48),
    "device": "cpu",
    "mode": "eager",
    "kind": "latency",
    "batch_size": 1,
    "effective_batch": 1,
    "latency_ms": 10.0,
    "status": "ok",
    "settings": Settings(),
    "environment_key": "a",
    "started": "2026-01-01T00:00:00+00:00",
}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """Let processes be made up, and return a function that tells which were started."""
    command = (sys.executable, str(FAKE), str(tmp_path / "log"))
    original = subprocess.Popen

    def start(words: Any, *rest: Any, **options: Any) -> Any:
        return original(command if "segzoo.bench.child" in words else words, *rest, **options)

    monkeypatch.setattr("segzoo.bench.worker.subprocess.Popen", start)
    return lambda: (tmp_path / "log").read_text().splitlines()


def write_result(name: str, *milliseconds: float, key: str = "a", **fields: object) -> None:
    """Write a result with one process for each time."""
    for repeat, each in enumerate(milliseconds):
        samples = tuple(each * (1 + 0.001 * step) for step in range(-5, 6))
        environment = {"versions": {"torch": key}}
        row = {**KNOWN, "samples_ms": samples, "repeat": repeat, "environment": environment, "environment_key": key}
        append_row(Path(name), Row.model_validate({**row, **fields}))


def test_sweep(run: Invoke, fake: Callable[[], list[str]]) -> None:
    """Options decide on what is measured; the table is on stdout, the convention and the file on stderr."""
    result = run(
        *("bench", "--models", "segnet_pets*", "--size", "32x48", "--batch", "1,2", "--modes", "eager,bf16"),
        *("--repeats", "2", "--seed", "3", "--device", "cpu"),
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].split()[:3] == ["model", "mode", "kind"]
    assert len(result.stdout.splitlines()) == 1 + 2 * 2 * 3
    assert "GMACs (1 MAC = 2 FLOPs; conv + matmul), eval heads; input 3x32x48" in result.stderr
    (path,) = Path("runs/bench").glob("*.jsonl")
    assert str(path) in result.stderr
    rows = read_rows(path)
    assert {(row.settings.size, row.settings.batches, row.settings.seed) for row in rows} == {((32, 48), (1, 2), 3)}
    assert sorted(line.split()[:2] for line in fake()) == [
        ["segzoo/segnet_pets", "0"],
        ["segzoo/segnet_pets", "1"],
        ["segzoo/segnet_pets_separable", "0"],
        ["segzoo/segnet_pets_separable", "1"],
    ]


def test_quick_json_and_going_on(run: Invoke, fake: Callable[[], list[str]]) -> None:
    """Quick is small and has one process; programs get whole rows; the same file is not measured again."""
    words = ("bench", "--quick", "--models", "segnet", "--device", "cpu", "--out", "out.jsonl", "--json")
    printed = json.loads(run(*words).stdout)
    assert printed["schema_version"] == 1
    assert [(row["kind"], row["settings"]["size"], row["settings"]["quick"]) for row in printed["rows"]] == [
        ("latency", [128, 128], True),
        ("throughput", [128, 128], True),
    ]
    assert json.loads(run(*words).stdout) == printed
    assert len(fake()) == 1


def test_nothing_measured_is_exit_1(run: Invoke, offer: Callable[..., Path], fake: Callable[[], list[str]]) -> None:
    """Where no row has figures, the command fails and says why."""
    offer("acme-seg", "raise")
    result = run("bench", "--quick", "--models", "acme-seg/raise,segnet", "--device", "cpu", "--out", "both.jsonl")
    assert result.exit_code == 0, result.stderr
    assert len(fake()) == 2
    row = Row.model_validate(
        {**KNOWN, "status": "crash", "error": "it fell", "repeat": 0, "environment": {}, "latency_ms": None}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segzoo.bench.runner.run_sweep", lambda _sweep, _path: [row])
        failed = run("bench", "--quick", "--models", "segnet", "--device", "cpu", "--out", "out.jsonl")
    assert failed.exit_code == 1
    assert "nothing could be measured; out.jsonl has the reasons, such as: it fell" in failed.stderr


def test_no_such_device(refused: Refuse) -> None:
    """A device that is not there is exit 3, and the message says what is."""
    message = refused("bench", "--models", "segnet", "--device", "cuda:99", code=3)
    assert message.startswith("the device 'cuda:99' is not here; there is ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "segnt"], "no model named 'segnt'. Did you mean 'segnet'"),
        (["--models", "segnet,"], "--models must be words separated by commas, got 'segnet,'"),
        (["--size", "12y"], "--size must be HxW in pixels, such as 512x512, got '12y'"),
        (["--batch", "1,x"], "--batch must be sizes from 1 on, separated by commas, got 'x'"),
        (["--modes", "fast"], 'modes.0 = "fast"'),
        (["--out", "out.txt"], "--out must be a file whose name ends in .jsonl, got 'out.txt'"),
        (["--seed", "1", "compare", "a", "b"], "--seed before 'compare' does nothing"),
        (["compare", "a", "b"], "a cannot be read: No such file"),
        (["compare", "a", "b", "--threshold", "0"], "--threshold must lie between 0 and 100%"),
        (["report", "a.jsonl"], "a.jsonl cannot be read"),
        (["report", "a.csv"], "the report would replace the results a.csv"),
    ],
)
def test_mistakes(words: list[str], message: str, refused: Refuse) -> None:
    """What is wrong is told with its value before anything is measured."""
    assert message in refused("bench", *words)


def test_compare_finds_what_became_slower(run: Invoke) -> None:
    """SLOWER is exit 1; the other way round is FASTER and exit 0; a wide threshold makes it the SAME."""
    write_result("a.jsonl", 10.0, 10.1, 9.9, 10.05, 9.95)
    write_result("b.jsonl", 11.5, 11.6, 11.4, 11.55, 11.45)
    slower = run("bench", "compare", "a.jsonl", "b.jsonl", "--threshold", "3%")
    assert slower.exit_code == 1
    assert slower.stdout.splitlines()[1].split()[-1] == "SLOWER"
    assert "1 of 1 measurements became slower" in slower.stderr
    faster = run("bench", "compare", "b.jsonl", "a.jsonl", "--json")
    assert faster.exit_code == 0
    (row,) = json.loads(faster.stdout)["rows"]
    assert (row["model"], row["verdict"], row["processes"]) == ("segzoo/segnet", "FASTER", [5, 5])
    assert row["interval"][0] < row["ratio"] < row["interval"][1] < 1
    assert run("bench", "compare", "a.jsonl", "b.jsonl", "--threshold", "0.4").stdout.split()[-1] == "SAME"


def test_compare_refuses_other_environments(run: Invoke, refused: Refuse) -> None:
    """Results of different machines are compared on demand alone."""
    write_result("a.jsonl", 10.0, 10.1, 9.9)
    write_result("b.jsonl", 10.0, 10.1, 9.9, key="2")
    assert "different environments: versions.torch: a, 2; --force compares" in refused(
        "bench", "compare", "a.jsonl", "b.jsonl"
    )
    forced = run("bench", "compare", "a.jsonl", "b.jsonl", "--force")
    assert forced.exit_code == 0
    assert "warning: environments differ: versions.torch: a, 2" in forced.stderr


def test_compare_tells_what_no_longer_runs(run: Invoke) -> None:
    """Figures that are lost are a failure, as slower ones are."""
    write_result("a.jsonl", 10.0, 10.1)
    write_result("b.jsonl", 10.0, status="oom", error="no memory")
    result = run("bench", "compare", "a.jsonl", "b.jsonl")
    assert result.exit_code == 1
    assert "segzoo/segnet in eager, batch 1: oom: no memory" in result.stderr


def test_report(run: Invoke) -> None:
    """Page, CSV and Markdown lie beside the results, or where they are asked for."""
    write_result("a.jsonl", 10.0, 10.1)
    result = run("bench", "report", "a.jsonl", "--no-modules")
    assert result.stdout.split() == ["a.html", "a.csv", "a.md"]
    assert all(Path(name).is_file() for name in result.stdout.split())
    assert run("bench", "report", "a.jsonl", "--out", "b.md", "--models", "segnet").stdout.split() == ["b.md"]
    assert not Path("b.html").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_signals_end_the_sweep_by_name(signum: signal.Signals, tmp_path: Path) -> None:
    """An interrupted sweep ends with the signal's code and its process, and says how to go on."""
    command = [sys.executable, "-m", "segzoo", "bench", "--device", "cpu", "--models", "fast_scnn", "--out", "o.jsonl"]
    parent = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    while "repeat 0" not in parent.stderr.readline():
        assert parent.poll() is None
    while not (children := child_of(parent.pid)):
        time.sleep(0.02)
    parent.send_signal(signum)
    stdout, stderr = parent.communicate(timeout=60)
    assert (parent.returncode, stdout) == (128 + signum, "")
    assert f"stopped by {signum.name}; the same command with --out o.jsonl goes on" in stderr
    # It is gone, or a zombie that nobody has looked at: killing takes the system a moment.
    while any(alive(child) for child in children):
        time.sleep(0.02)


def child_of(pid: int) -> list[str]:
    """Return the processes that a process has started."""
    if sys.platform != "linux" or not os.access(f"/proc/{pid}/task/{pid}/children", os.R_OK):
        pytest.skip("this system does not list the children of a process")
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def alive(pid: str) -> bool:
    """Say whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
