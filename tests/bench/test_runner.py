"""A sweep survives what its processes do, and goes on where it was."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from segzoo.bench.rows import Row, Settings, measurement_of, planned, read_rows
from segzoo.bench.runner import Sweep, run_sweep
from segzoo.errors import UsageFault
from segzoo.files import exclusive_lock

FAKE = Path(__file__).with_name("fake_child.py")
SETTINGS = Settings(size=(32, 48), batches=(1, 2), modes=("eager", "bf16", "channels_last"))


@pytest.fixture
def started(tmp_path: Path) -> Callable[[], list[str]]:
    """Return a function that tells which processes were started: model, repeat and modes of each."""
    return lambda: (tmp_path / "log").read_text().splitlines()


def sweep_of(folder: Path, *models: str, repeats: int = 1, timeout: float = 60.0, seed: int = 0) -> Sweep:
    """Return a sweep whose processes are made up."""
    settings = SETTINGS.model_copy(update={"seed": seed})
    command = (sys.executable, str(FAKE), str(folder / "log"))
    return Sweep([f"segzoo/{model}" for model in models], settings, "cpu", repeats, timeout, command)


def statuses(rows: list[Row], model: str) -> dict[str, set[str]]:
    """Return the statuses of a model in each mode."""
    return {mode: {row.status for row in rows if (row.model, row.mode) == (model, mode)} for mode in SETTINGS.modes}


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ("raise", "crash", "RuntimeError: the model fell over"),
        ("memory", "oom", "MemoryError: no memory for 9 GiB"),
        pytest.param("abort", "crash", "ended by SIGABRT", marks=pytest.mark.slow),
        pytest.param("segfault", "crash", "ended by SIGSEGV", marks=pytest.mark.slow),
        ("killed", "crash", "ended by SIGKILL"),
        pytest.param("leave", "crash", "the process ended well, but without all of its rows", marks=pytest.mark.slow),
        ("babble", "crash", "the process wrote what is no row: b'hello'"),
        pytest.param("hang", "timeout", "no figure within 4 s; --timeout allows more", marks=pytest.mark.slow),
    ],
)
def test_a_fault_costs_its_mode_alone(
    fault: str, status: str, error: str, tmp_path: Path, started: Callable[[], list[str]]
) -> None:
    """A mode in which the process dies is marked; the modes before and after it, and the next model, have figures."""
    model = f"{fault}_in_bf16"
    rows = run_sweep(sweep_of(tmp_path, model, "fine", timeout=4), tmp_path / "rows.jsonl")
    assert statuses(rows, f"segzoo/{model}") == {"eager": {"ok"}, "bf16": {status}, "channels_last": {"ok"}}
    assert statuses(rows, "segzoo/fine") == {mode: {"ok"} for mode in SETTINGS.modes}
    assert {row.error for row in rows if row.mode == "bf16" and row.status != "ok"} == {error}
    assert len(rows) == 2 * len(planned(SETTINGS))
    assert read_rows(tmp_path / "rows.jsonl") == rows
    assert f"segzoo/{model} 0 channels_last" in started()


def test_what_gives_no_row_is_not_tried_mode_by_mode(tmp_path: Path, started: Callable[[], list[str]]) -> None:
    """A model that cannot even begin is marked in all modes after one process."""
    rows = run_sweep(sweep_of(tmp_path, "raise"), tmp_path / "rows.jsonl")
    assert {row.status for row in rows} == {"crash"}
    assert [measurement_of(row) for row in rows] == planned(SETTINGS)
    assert rows[0].input == (3, 32, 48)
    assert len(started()) == 1


def test_memory_that_the_kernel_took_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that the kernel killed while it counted one more victim ran out of memory."""
    counts = iter((3, 4))
    monkeypatch.setattr("segzoo.bench.worker.oom_kills", lambda: next(counts))
    rows = run_sweep(sweep_of(tmp_path, "killed"), tmp_path / "rows.jsonl")
    assert {(row.status, row.error) for row in rows} == {("oom", "ended by SIGKILL: the system ran out of memory")}


def test_a_finished_sweep_starts_nothing(tmp_path: Path, started: Callable[[], list[str]]) -> None:
    """The same sweep with the same file gives the same rows; more repeats add theirs alone."""
    path = tmp_path / "rows.jsonl"
    rows = run_sweep(sweep_of(tmp_path, "a", "raise"), path)
    content = path.read_bytes()
    assert run_sweep(sweep_of(tmp_path, "a", "raise"), path) == rows
    assert path.read_bytes() == content
    assert len(started()) == 2
    run_sweep(sweep_of(tmp_path, "a", "raise", repeats=2), path)
    assert path.read_bytes().startswith(content)
    assert [line.split()[1] for line in started()] == ["0", "0", "1", "1"]


def test_other_settings_and_environments_are_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of another seed, or of a machine with other flags, do not stand in for those that are asked for."""
    path = tmp_path / "rows.jsonl"
    first = run_sweep(sweep_of(tmp_path, "a"), path)
    assert len(run_sweep(sweep_of(tmp_path, "a", seed=1), path)) == len(first)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert len(run_sweep(sweep_of(tmp_path, "a"), path)) == len(first)
    assert len(read_rows(path)) == 3 * len(first)
    assert len({row.environment_key for row in read_rows(path)}) == 2


@pytest.mark.parametrize("kept", [1, 4, 8])
def test_an_interrupted_sweep_goes_on(kept: int, tmp_path: Path, started: Callable[[], list[str]]) -> None:
    """With the first rows and half of the next, only what is missing is asked for, and nothing is there twice."""
    path = tmp_path / "rows.jsonl"
    run_sweep(sweep_of(tmp_path, "a"), path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:kept]) + lines[kept][:30])
    rows = run_sweep(sweep_of(tmp_path, "a"), path)
    assert [measurement_of(row) for row in rows] == planned(SETTINGS)
    assert {row.settings for row in read_rows(path)} == {SETTINGS}
    modes = dict.fromkeys(measurement.mode for measurement in planned(SETTINGS)[kept:])
    assert started()[-1] == f"segzoo/a 0 {','.join(modes)}"


def test_sigkill_of_the_parent_loses_no_finished_row(tmp_path: Path) -> None:
    """Every row that was there before the kill is there after it, and the sweep goes on."""
    path = tmp_path / "rows.jsonl"
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from test_runner import sweep_of; from segzoo.bench.runner import run_sweep;"
        "folder = Path(sys.argv[2]); run_sweep(sweep_of(folder, 'slow', 'slow2'), folder / 'rows.jsonl')"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(FAKE.parent), str(tmp_path)])
    while not path.exists() or path.read_bytes().count(b"\n") < 3:
        assert parent.poll() is None
        time.sleep(0.02)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    finished = read_rows(path)
    assert len(finished) >= 3
    rows = run_sweep(sweep_of(tmp_path, "slow", "slow2"), path)
    assert rows[: len(finished)] == finished
    assert len(read_rows(path)) == 2 * len(planned(SETTINGS))


def test_order_is_random_and_repeatable(tmp_path: Path) -> None:
    """Each repeat has another order; the same seed gives the same ones, another seed others."""
    models = [f"m{number}" for number in range(8)]
    order = sweep_of(tmp_path, *models, repeats=2).order()
    assert order == sweep_of(tmp_path, *models, repeats=2).order()
    assert order != sweep_of(tmp_path, *models, repeats=2, seed=1).order()
    assert [repeat for _, repeat in order] == [0] * 8 + [1] * 8
    first, second = ([model for model, repeat in order if repeat == wanted] for wanted in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)


def test_two_sweeps_do_not_share_a_file(tmp_path: Path) -> None:
    """A file that another sweep writes is refused by name."""
    path = tmp_path / "rows.jsonl"
    with exclusive_lock(tmp_path / ".rows.jsonl.lock"), pytest.raises(UsageFault, match=r"writes .*rows\.jsonl; wait"):
        run_sweep(sweep_of(tmp_path, "a"), path)


def test_failures_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever watches a sweep sees which model fails, and why."""
    with caplog.at_level(logging.WARNING, logger="segzoo.bench.runner"):
        run_sweep(sweep_of(tmp_path, "raise"), tmp_path / "rows.jsonl")
    told = [record.message for record in caplog.records if record.name == "segzoo.bench.runner"]
    assert told == ["segzoo/raise: crash: RuntimeError: the model fell over"]
