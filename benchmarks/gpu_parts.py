"""One part of the plan for a GPU.

Usage: python benchmarks/gpu_parts.py PART --out FOLDER [--device cuda:0] [--seconds N] [--camvid FOLDER] [--tiny]

``benchmarks/gpu_plan.py`` starts each of them in a process of its own. A part writes FOLDER/<part>.result.json with its
figures and the goals that it missed; rows of the benchmark and runs stay in the folder, where an interrupted part finds
them again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from segzoo.bench.environment import describe_environment
from segzoo.bench.rows import Row, read_rows
from segzoo.bench.summary import summarise

ROOT = Path(__file__).parents[1]
MODES = "eager,channels_last,bf16,compile,graph,best"
CHUNK = 8
"""Models of the zoo that one call of ``segzoo bench`` measures."""
AGREEMENT = 0.02
"""How far two clocks may be apart."""
FLUSHED = 1 << 28
"""Bytes that are written between two calls to empty the L2 cache, as triton's do_bench does."""


class Goal(NamedTuple):
    """How much faster than eager float32 one image is to be in mode ``best``."""

    model: str
    size: tuple[int, int]
    times: float


GOALS = (
    Goal("segzoo/unet_resnet34", (512, 512), 4.0),
    Goal("segzoo/deeplabv3plus_mobilenet_v2", (512, 512), 4.0),
    Goal("segzoo/segnet", (352, 480), 2.9),
    Goal("segzoo/fast_scnn", (1024, 2048), 2.3),
)


class Result(NamedTuple):
    """What a part found.

    Args:
        figures: Its figures by name.
        missed: A sentence for each goal that was not reached.
        status: ``done``, ``partial`` where the same part goes on in the next call, or ``skipped``.
        reason: Why it is not done.
    """

    figures: Mapping[str, Any]
    missed: tuple[str, ...] = ()
    status: str = "done"
    reason: str | None = None


class Task(argparse.Namespace):
    """What a part is given."""

    part: str
    out: Path
    device: str
    seconds: float
    camvid: Path | None
    tiny: bool


def environment(task: Task) -> Result:
    """Describe the machine."""
    return Result(describe_environment(task.device))


def modes(task: Task) -> Result:
    """Measure one model in all modes."""
    rows = _bench(
        task, "modes", "fast_scnn", "64x64" if task.tiny else "512x512", MODES, "1,2" if task.tiny else "1,32"
    )
    return Result({"latency_ms": latencies(rows), "ways": _ways(rows)}, tuple(_failures(rows)))


def tests(task: Task) -> Result:
    """Run the tests that need a GPU."""
    if importlib.util.find_spec("pytest") is None:
        return Result({}, status="skipped", reason="pytest is not installed")
    where = ["tests/bench/test_clock.py"] if task.tiny else []
    options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", *where]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr, sep="\n")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    failed = tuple(line for line in lines if line.startswith(("FAILED", "ERROR")))
    if done.returncode and not failed:
        failed = (f"pytest ended with {done.returncode}",)
    return Result({"summary": lines[-1] if lines else ""}, failed)


def no_sync(task: Task) -> Result:
    """Train, evaluate and take every loss under torch's check for synchronisation."""
    from no_sync import MODELS, check_all

    from segzoo.runtime.device import choose_device

    found = check_all(choose_device(task.device), MODELS[:1] if task.tiny else MODELS)
    return Result({"checked": list(found)}, tuple(f"{name} waits: {fault}" for name, fault in found.items() if fault))


def throughput(task: Task) -> Result:
    """Compare the training loop with the bare step and a plain loop, in one run of benchmarks/throughput.py."""
    out = task.out / "throughput.figures.json"
    options = ["--device", task.device, "--out", str(out)]
    if task.tiny:
        options += ["--model", "fast_scnn", "--size", "64", "--batch", "2", "--steps", "2", "--epochs", "1"]
        options += ["--warm-up", "1", "--copies", "1", "--rounds", "1", "--workers", "1", "--no-compile"]
        options += ["--images", "8"]
    subprocess.run([sys.executable, str(ROOT / "benchmarks" / "throughput.py"), *options], check=True)
    found = json.loads(out.read_text())
    out.unlink()
    missed = tuple(
        f"the loop reaches {found['ratios'][side]:.2f} of {side}, {goal:g} are asked for"
        for side, goal in found["targets"].items()
        if found["ratios"][side] < goal
    )
    return Result({key: found[key] for key in ("settings", "images_per_second", "ratios")}, missed)


def latency(task: Task) -> Result:
    """Measure one image of four models in all modes."""
    rows: list[Row] = []
    for goal in GOALS[-1:] if task.tiny else GOALS:
        size = "64x64" if task.tiny else "x".join(map(str, goal.size))
        rows += _bench(task, f"latency_{goal.model.rpartition('/')[2]}", goal.model, size, MODES, "1")
    found, goals = gains(rows), {goal.model: goal.times for goal in GOALS}
    slow = (
        f"{name} is {times:.2f} times as fast in best, {goals[name]:g} are asked for" for name, times in found.items()
    )
    missed = (line for line, (name, times) in zip(slow, found.items(), strict=True) if times < goals[name])
    figures = {"latency_ms": latencies(rows), "gains": found, "ways": _ways(rows)}
    return Result(figures, (*_failures(rows), *missed))


def agreement(task: Task) -> Result:
    """Hold our clock against triton's ``do_bench``, both with an L2 cache that is emptied before each call."""
    import torch

    from segzoo.analysis.subject import open_subject
    from segzoo.bench.clock import CudaClock
    from segzoo.bench.modes import way_of
    from segzoo.bench.programs import prepare
    from segzoo.inference.ways import PLAIN

    try:
        from triton.testing import do_bench  # type: ignore[import-untyped]

        do_bench(lambda: None, warmup=1, rep=1)
    except Exception as error:  # without a driver triton has errors of its own
        return Result({}, status="skipped", reason=f"triton does not run here: {type(error).__name__}: {error}")
    device = torch.device(task.device)
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = True
    clock, found, missed = CudaClock(device), [], []
    cache = torch.empty(FLUSHED, dtype=torch.int8, device=device)
    for goal in GOALS[-1:] if task.tiny else GOALS:
        subject = open_subject(goal.model, seed=0)
        image = subject.image(1, (64, 64) if task.tiny else goal.size, seed=0)
        for mode in ("eager", "graph"):
            with torch.inference_mode():
                program = prepare(subject.model, image, way_of(mode, "cuda") or PLAIN, device=device, clock=clock)
                theirs = do_bench(program.run, warmup=200, rep=1000, return_mode="median")
                ours = statistics.median(clock.cold_series(program.run, 200, cache.zero_)) * 1e3
            found.append({"model": goal.model, "mode": mode, "segzoo_ms": ours, "triton_ms": theirs})
            if abs(ours - theirs) > AGREEMENT * theirs:
                missed.append(f"{goal.model} in {mode}: {ours:.3f} ms by our clock, {theirs:.3f} ms by triton's")
    return Result({"clocks": found}, tuple(missed))


def zoo(task: Task) -> Result:
    """Measure every model in eager and graph, in chunks, as far as the time allows."""
    from segzoo.plugins import list_models

    names = [info.id for info in list_models(origin="segzoo")][: 2 if task.tiny else None]
    size = "64x64" if task.tiny else "512x512"
    end, rows, longest = time.monotonic() + task.seconds, list[Row](), 0.0
    for first in range(0, len(names), CHUNK):
        started = time.monotonic()
        if end - started < longest:
            reason = f"{first} of {len(names)} models are measured; call again"
            return Result({"latency_ms": latencies(rows)}, tuple(_failures(rows)), "partial", reason)
        rows += _bench(task, f"zoo_{first:02}", ",".join(names[first : first + CHUNK]), size, "eager,graph", "1")
        longest = max(longest, time.monotonic() - started)
    return Result({"latency_ms": latencies(rows)}, tuple(_failures(rows)))


def train(task: Task) -> Result:
    """Train a recipe on CamVid until its end or the end of the time; the next call goes on with it."""
    if task.camvid is None or not task.camvid.is_dir():
        return Result({}, status="skipped", reason=f"CamVid is not at {task.camvid}; name its folder with --camvid")
    from segzoo.runs.rundir import RunDirectory

    folder = task.out / "runs" / task.part
    changes = [f"data.root={task.camvid.resolve()}", "model.weights=null"]
    if task.tiny:
        changes += ["train.max_steps=2", "train.batch_size=2", "train.workers=1", "data.image_size=[96,128]"]
        changes += ["augment=[]", "train.compile=false"]
    words = [
        sys.executable,
        "-m",
        "segzoo",
        "finetune",
        task.part,
        "--out",
        str(folder),
        "--device",
        task.device,
        "--resume",
    ]
    for change in changes:
        words += ["--set", change]
    process = subprocess.Popen(words, cwd=ROOT)
    try:
        code = process.wait(max(task.seconds - 30, 1))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        code = process.wait()
    run = RunDirectory(folder)
    rows, record = run.rows(), run.record()
    if code not in (0, 128 + signal.SIGTERM):
        raise SystemExit(f"segzoo finetune ended with {code}")
    figures = {
        "epochs": len(rows),
        "mean_iou": max((row["mean_iou"] for row in rows if row["mean_iou"] is not None), default=None),
        "images_per_second": statistics.median(row["images_per_second"] for row in rows) if rows else None,
        "train_seconds": record.train_seconds if record else None,
    }
    reason = None if code == 0 else f"stopped after {len(rows)} epochs, when the time was up"
    return Result(figures, reason=reason)


RUN: dict[str, Callable[[Task], Result]] = {
    "environment": environment,
    "modes": modes,
    "tests": tests,
    "no_sync": no_sync,
    "throughput": throughput,
    "latency": latency,
    "agreement": agreement,
    "zoo": zoo,
    "camvid_fast_scnn": train,
    "camvid_segnet": train,
    "camvid_unet_resnet34": train,
}


def latencies(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Return the milliseconds of one image by model and mode."""
    found: dict[str, dict[str, float]] = {}
    for each in summarise(rows):
        if each.kind != "throughput" and each.latency_ms is not None:
            found.setdefault(each.model, {})[each.mode] = each.latency_ms
    return found


def gains(rows: Iterable[Row]) -> dict[str, float]:
    """Return by how much each model that has figures of both is faster in ``best`` than in ``eager``."""
    known = latencies(rows)
    return {name: times["eager"] / times["best"] for name, times in known.items() if {"eager", "best"} <= times.keys()}


def _bench(task: Task, name: str, models: str, size: str, modes: str, batches: str) -> list[Row]:
    """Run ``segzoo bench`` on models, and return its rows; those that its file has already are not measured again."""
    path = task.out / f"{name}.jsonl"
    words = ["--models", models, "--size", size, "--modes", modes, "--batch", batches, "--quick", "--repeats", "1"]
    command = [sys.executable, "-m", "segzoo", "bench", "--device", task.device, *words, "--out", str(path)]
    # Where nothing could be measured the command fails, and the rows say why.
    if subprocess.run(command, cwd=ROOT, check=False).returncode not in (0, 1):
        raise SystemExit(f"segzoo bench failed on {models}")
    return read_rows(path)


def _failures(rows: Iterable[Row]) -> list[str]:
    return [f"{row.model} in {row.mode}, batch {row.batch_size}: {row.error}" for row in rows if row.status != "ok"]


def _ways(rows: Iterable[Row]) -> dict[str, list[str]]:
    """Return what was tried in mode ``best`` for one image, by model."""
    return {row.model: [trial.line for trial in row.trials] for row in rows if row.trials and row.kind == "latency"}


def main() -> None:
    """Run one part and write its result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=RUN)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--camvid", type=Path)
    parser.add_argument("--tiny", action="store_true")
    task = parser.parse_args(namespace=Task())
    result = RUN[task.part](task)
    (task.out / f"{task.part}.result.json").write_text(json.dumps(result._asdict(), default=str) + "\n")


if __name__ == "__main__":
    main()
