"""What the benchmark finds on a GPU: agreement with triton's, gain of mode ``best``, and the cost of the whole zoo.

Usage: python benchmarks/gpu_sweep.py [--parts zoo,best,agreement] [--out benchmarks/results]

Writes gpu_agreement.json, gpu_best.json and zoo_cuda.csv; rows with all samples stay in runs/bench. Ends with 1 where
clocks differ by more than 2 %, ``best`` gains less than the table in this file asks for, or the zoo takes more than ten
minutes, and with 3 where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from segzoo.bench.probe import find_device
from segzoo.bench.rows import Mode, Row, read_rows
from segzoo.bench.summary import summarise
from segzoo.environment import collect
from segzoo.errors import SegzooError

ROWS = Path("runs", "bench")
AGREEMENT, MINUTES = 0.02, 10
PARTS = ("zoo", "best", "agreement")
"""In this order: the last leaves this process on the GPU, where it would disturb the others."""


class Goal(NamedTuple):
    """How much faster than eager float32 one image is to be in mode ``best``."""

    model: str
    size: tuple[int, int]
    times: float


GOALS = (
    Goal("segzoo/unet_resnet34", (512, 512), 4.0),
    Goal("segzoo/deeplabv3plus_mobilenet_v2", (512, 512), 3.6),
    Goal("segzoo/segnet", (352, 480), 2.7),
    Goal("segzoo/fast_scnn", (1024, 2048), 2.2),
)


class Clocks(NamedTuple):
    """How long one image takes by segzoo's clock and by triton's."""

    model: str
    mode: Mode
    segzoo_ms: float
    triton_ms: float


def main() -> int:
    """Measure what is asked for, print and write it; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="Which of these, separated by commas.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks", "results"))
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"--parts must be among {', '.join(PARTS)}, got {', '.join(map(repr, unknown))}")
    if not options.out.is_dir():
        parser.error(f"--out must be a folder, got {str(options.out)!r}")
    try:
        find_device("cuda")
    except SegzooError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    measure = {"agreement": agreement, "best": best, "zoo": zoo}
    reached = [measure[part](options.out) for part in PARTS if part in parts]
    return int(not all(reached))


def agreement(out: Path) -> bool:
    """Hold the events of segzoo's clock against triton's ``do_bench``, launched one by one and replayed."""
    found = [each for goal in GOALS for each in clocks(goal)]
    for each in found:
        print(f"{each.model:<36} {each.mode:<6} {each.segzoo_ms:8.3f} {each.triton_ms:8.3f} ms")
    write(out / "gpu_agreement.json", {"tolerated": AGREEMENT, "found": [each._asdict() for each in found]})
    return all(agree(each.segzoo_ms, each.triton_ms) for each in found)


def clocks(goal: Goal) -> list[Clocks]:
    """Return the median milliseconds of one image by both clocks, in modes ``eager`` and ``graph``."""
    # torch and triton start here.
    import torch
    from triton.testing import do_bench  # type: ignore[import-untyped]

    from segzoo.analysis.subject import open_subject
    from segzoo.bench.clock import clock_for
    from segzoo.bench.modes import way_of
    from segzoo.bench.programs import prepare
    from segzoo.inference.ways import PLAIN

    device = torch.device("cuda")
    torch.backends.cudnn.benchmark = True
    subject, clock = open_subject(goal.model, seed=0), clock_for(device)
    image, found = subject.image(1, goal.size, seed=0), []
    modes: tuple[Mode, ...] = ("eager", "graph")
    for mode in modes:
        with torch.inference_mode():
            program = prepare(subject.model, image, way_of(mode, "cuda") or PLAIN, device=device, clock=clock)
            theirs = do_bench(program.run, warmup=200, rep=1000, return_mode="median")
            ours = statistics.median(clock.series(program.run, 200)) * 1e3
        found.append(Clocks(goal.model, mode, ours, theirs))
    return found


def agree(one: float, other: float) -> bool:
    """Say whether two times differ by no more than is tolerated."""
    return abs(one - other) <= AGREEMENT * other


def best(out: Path) -> bool:
    """Measure how much faster than eager each of four models is in the modes that compile."""
    rows = []
    for goal in GOALS:
        path = ROWS / f"gpu_best_{goal.model.rpartition('/')[2]}.jsonl"
        size = "x".join(map(str, goal.size))
        bench(
            *("--models", goal.model, "--size", size, "--modes", "eager,bf16,graph,compile,best"),
            *("--batch", "1", "--out", str(path)),
        )
        rows += read_rows(path)
    found = gains(rows)
    for goal in GOALS:
        print(f"{goal.model:<36} {found.get(goal.model, 0.0):.2f} times faster, {goal.times} asked for")
    goals = {goal.model: goal.times for goal in GOALS}
    write(out / "gpu_best.json", {"asked_for": goals, "found": found, "latency_ms": latencies(rows)})
    return all(found.get(goal.model, 0.0) >= goal.times for goal in GOALS)


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


def zoo(out: Path) -> bool:
    """Measure every model in the modes that need no compiler, and write a line for each measurement."""
    # A file of its own each time: a sweep that goes on would say nothing of how long it takes.
    path = ROWS / f"zoo_cuda_{datetime.now(UTC):%Y%m%d-%H%M%S}.jsonl"
    started = time.perf_counter()
    bench(
        *("--quick", "--size", "512x512", "--batch", "1", "--modes", "eager,channels_last,bf16,graph"),
        *("--out", str(path)),
    )
    minutes = (time.perf_counter() - started) / 60
    print(f"the whole zoo takes {minutes:.1f} minutes")
    segzoo("bench", "report", str(path), "--no-modules", "--out", str(out / "zoo_cuda.csv"))
    return minutes <= MINUTES


def bench(*words: str) -> None:
    """Run ``segzoo bench`` on the GPU."""
    segzoo("bench", "--device", "cuda", *words)


def segzoo(*words: str) -> None:
    """Run a command of segzoo, which must succeed."""
    subprocess.run([sys.executable, "-m", "segzoo", *words], check=True)


def write(path: Path, result: dict[str, object]) -> None:
    """Write a result with the environment."""
    path.write_text(json.dumps({**result, "environment": collect()}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
