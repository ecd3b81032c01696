"""The process that measures one model: rows on stdout, everything else on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from segzoo.bench import child
from segzoo.bench.child import measure_model
from segzoo.bench.roofline import Peaks, roofline_of
from segzoo.bench.rows import OUT_OF_MEMORY, Request, Row, Settings
from segzoo.errors import DeviceError, UnknownModel

QUICK = Settings(size=(64, 64), batches=(2,), quick=True, min_samples=6, min_seconds=0, max_seconds=0.4)

COUNTED = {"parameters": 7, "macs": 5 * 10**8, "bytes_moved": 10**6, "operations": 30}

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

NETS = """
import os, sys
from torch import nn
class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.encoder, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, classes, 1)
    def forward(self, image):
        print("a line of the model")
        os.write(1, b"a line of C code\\n")
        if len(image) > 1:
            os.kill(os.getpid(), 9)
        return self.head(self.encoder(image))
def build(params, *, in_channels, num_classes):
    return Net(num_classes)
"""


def request(**fields: object) -> Request:
    """Return a request for a small model."""
    return Request.model_validate({"model": "fast_scnn", "repeat": 0, "settings": QUICK, "device": "cpu", **fields})


def run_child(content: str) -> subprocess.CompletedProcess[str]:
    """Run the process with ``content`` on stdin."""
    command = [sys.executable, "-m", "segzoo.bench.child"]
    return subprocess.run(command, input=content, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def _fake_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count by a stand-in: what is counted is tested elsewhere."""
    monkeypatch.setattr(child, "count", lambda model, *, size, in_channels: SimpleNamespace(**COUNTED))


def test_rows_hold_what_was_asked_and_measured() -> None:
    """One row for each kind, batch and mode, whole enough to be read alone."""
    settings = QUICK.model_copy(update={"modes": ("eager", "graph")})
    rows = list(measure_model(request(settings=settings, repeat=3)))
    assert [(row.mode, row.kind, row.batch_size, row.status) for row in rows] == [
        ("eager", "latency", 1, "ok"),
        ("eager", "throughput", 2, "ok"),
        ("graph", "graph", 1, "unsupported"),
        ("graph", "throughput", 2, "unsupported"),
    ]
    for row in rows:
        assert (row.model, row.device, row.input, row.repeat) == ("segzoo/fast_scnn", "cpu", (3, 64, 64), 3)
        assert (row.parameters, row.gmacs, row.settings) == (7, 0.5, settings)
        assert (row.bytes_moved, row.operations) == (10**6, 30)
        assert row.environment_key == rows[0].environment_key
        assert Row.model_validate_json(row.model_dump_json()) == row
    for row in rows[:2]:
        assert row.latency_ms is not None
        assert row.interval_ms is not None
        assert row.interval_ms[0] <= row.latency_ms <= row.interval_ms[1]
        assert row.effective_batch == row.batch_size
        assert row.images_per_second == pytest.approx(1000 * row.batch_size / row.latency_ms)
        assert len(row.samples_ms) == min(row.samples, 200)
        assert row.error is None
    assert rows[2].error == "CUDA graphs need a CUDA device, got cpu"
    assert rows[2].latency_ms is rows[2].effective_batch is None


def test_peaks_are_measured_unless_it_is_to_be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are part of the state, so they do not make two environments differ."""
    monkeypatch.setattr(child, "sizes_for", lambda device: (16, 1 << 16))
    settings = QUICK.model_copy(update={"batches": ()})
    quick, full = (
        next(measure_model(request(settings=settings.model_copy(update={"quick": wanted})))) for wanted in (True, False)
    )
    states = [row.environment["state"] for row in (quick, full)]
    assert ["peaks" in state for state in states if isinstance(state, dict)] == [False, True]
    assert quick.environment_key == full.environment_key
    assert roofline_of(quick) is None
    assert roofline_of(full) is not None


def test_an_idle_device_is_measured_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its watts are taken before the peaks of large operations heat it, and none are in a quick measurement."""
    done: list[str] = []

    def measure_peaks(device: object, clock: object, *, side: int, copied: int) -> Peaks:
        done.append("peaks")
        return Peaks(bytes_per_second=1, flops_fp32=1, flops_bf16=1, launch_seconds=1)

    monkeypatch.setattr(child, "open_meter", lambda device: object())
    monkeypatch.setattr(child, "idle_watts", lambda meter, clock: (done.append("idle"), 100.0)[1])
    monkeypatch.setattr(child, "measure_peaks", measure_peaks)
    monkeypatch.setattr(child, "measure_mode", lambda bench, mode: [])
    assert list(measure_model(request(settings=QUICK.model_copy(update={"quick": False})))) == []
    assert done == ["idle", "peaks"]
    assert list(measure_model(request())) == []
    assert done == ["idle", "peaks"]


def test_a_model_that_cannot_be_counted_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parameters are known all the same."""

    def fail(model: object, **_: object) -> None:
        raise RuntimeError("not on the meta device")

    monkeypatch.setattr(child, "count", fail)
    row = next(measure_model(request()))
    assert row.status == "ok"
    assert row.gmacs is None
    assert row.parameters is not None
    assert row.parameters > 10**6


@pytest.mark.parametrize(
    ("wrong", "error"), [({"model": "fast_scn"}, UnknownModel), ({"device": "cuda:99"}, DeviceError)]
)
def test_what_is_not_there_is_refused(wrong: dict[str, object], error: type[Exception]) -> None:
    """A name or device that does not exist is told before anything is measured."""
    with pytest.raises(error):
        next(measure_model(request(**wrong)))


def test_the_process_prints_rows_alone(offer: Callable[..., Path], tmp_path: Path) -> None:
    """What a model prints goes to stderr, and rows that were done before a signal killed the process are there."""
    offer("acme-seg", "tiny")
    (tmp_path / "site" / "acme_nets.py").write_text(NETS)
    done = run_child(request(model="acme-seg/tiny").model_dump_json())
    assert done.returncode == -9
    rows = [Row.model_validate_json(line) for line in done.stdout.splitlines()]
    assert [(row.model, row.kind, row.status) for row in rows] == [("acme-seg/tiny", "latency", "ok")]
    assert "a line of the model" in done.stderr
    assert "a line of C code" in done.stderr


@pytest.mark.parametrize(
    ("statement", "code", "message"),
    [
        ("torch.empty(1 << 60)", OUT_OF_MEMORY, "can't allocate memory"),
        pytest.param("raise MemoryError('all gone')", OUT_OF_MEMORY, "all gone", marks=pytest.mark.slow),
        pytest.param("raise RuntimeError('it fell over')", 3, "it fell over", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_cannot_be_built_for_want_of_memory(
    statement: str, code: int, message: str, offer: Callable[..., Path], tmp_path: Path
) -> None:
    """Too little memory has an exit code of its own, so that the row can say so; other faults have not."""
    offer("acme-seg", "huge")
    builder = f"import torch\ndef build(params, *, in_channels, num_classes):\n    {statement}\n"
    (tmp_path / "site" / "acme_nets.py").write_text(builder)
    done = run_child(request(model="acme-seg/huge").model_dump_json())
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        pytest.param("{}", 2, "stdin is no request: model: ", marks=pytest.mark.slow),
        (json.dumps({**json.loads(request().model_dump_json()), "device": "cuda:99"}), 3, "'cuda:99' is not here"),
    ],
)
def test_the_process_refuses_without_a_traceback(content: str, code: int, message: str) -> None:
    """A request that cannot be answered ends with the exit code of its fault and one message."""
    done = run_child(content)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.gpu
@cuda
def test_all_modes_on_a_gpu() -> None:
    """Every mode of a small model has figures, and a graph makes the plain one faster."""
    modes = ("eager", "channels_last", "bf16", "compile", "graph", "best")
    settings = QUICK.model_copy(update={"modes": modes, "max_seconds": 5.0})
    rows = list(measure_model(request(device="cuda", settings=settings)))
    assert {(row.mode, row.status, row.error) for row in rows} == {(mode, "ok", None) for mode in modes}
    assert all(row.memory_allocated and row.memory_reserved for row in rows)
    alone = {row.mode: row.latency_ms for row in rows if row.batch_size == 1}
    assert alone["eager"] is not None
    assert alone["graph"] is not None
    assert alone["graph"] < alone["eager"]
