"""The benchmark on CUDA, however the device is written, and where memory runs out."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from segzoo.bench.child import measure_model
from segzoo.bench.rows import Request, Row, Settings
from segzoo.cli import app

MODES = ("eager", "channels_last", "bf16", "graph")


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Keep what was imported out of the garbage collections between measurements, which take most of the time here."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def measure(device: str, **settings: Any) -> list[Row]:
    """Return the rows of a model in a process that measures."""
    usual = {"size": (64, 64), "batches": (2,), "quick": True, "min_samples": 6, "min_seconds": 0, "max_seconds": 0.02}
    request = Request(model="fast_scnn", repeat=0, settings=Settings(**usual | settings), device=device)
    return list(measure_model(request))


@pytest.mark.parametrize("device", ["cuda:0", "cuda", "auto"])
def test_every_mode_is_measured(null_gpu: Any, device: str) -> None:
    """Each mode has its rows on the first device, however it is written, and a graph is replayed."""
    rows: list[Row] = []
    spent = null_gpu.spent(lambda: rows.extend(measure(device, modes=MODES)))
    assert {row.mode for row in rows} == set(MODES)
    assert [(row.mode, row.status, row.error) for row in rows] == [(row.mode, "ok", None) for row in rows]
    assert {row.device for row in rows} == {"cuda:0"}
    assert spent.capture_violations == 0
    assert spent.graph_launches > 0
    assert all(row.memory_allocated for row in rows)


def test_a_smaller_batch_is_measured_where_one_does_not_fit(null_gpu: Any) -> None:
    """A batch that does not fit is halved until it does."""
    torch.cuda.empty_cache()
    null_gpu.limit_memory(null_gpu.memory_used(0) + (128 << 20))
    latency, throughput = measure("cuda:0", batches=(1024,))
    assert (latency.status, throughput.status) == ("ok", "ok")
    assert throughput.batch_size == 1024
    assert throughput.effective_batch is not None
    assert 1 <= throughput.effective_batch < 1024


def test_a_model_without_room_has_rows_that_say_so(null_gpu: Any) -> None:
    """Where one image does not fit, the status is oom in every mode."""
    torch.cuda.empty_cache()
    null_gpu.limit_memory(null_gpu.memory_used(0) + (40 << 20))
    rows = measure("cuda:0", size=(1024, 1024), modes=MODES)
    assert {row.mode for row in rows} == set(MODES)
    assert {row.status for row in rows} == {"oom"}


def test_the_command_measures_on_the_second_device(tmp_path: Path) -> None:
    """``segzoo bench`` starts a process, which has the rows of each mode on the device that is asked for."""
    out = tmp_path / "rows.jsonl"
    words = ["bench", "--device", "cuda:1", "--models", "fast_scnn", "--quick", "--size", "64x64", "--out", str(out)]
    result = CliRunner().invoke(app, [*words, "--modes", ",".join(MODES)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {(row["mode"], row["status"], row["device"]) for row in rows} == {(mode, "ok", "cuda:1") for mode in MODES}
