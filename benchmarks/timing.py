"""What the benchmarks of the command line share: whole processes, timed in turn, and where the result goes."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from segzoo.environment import collect


def arguments(description: str | None, *, runs: int) -> argparse.Namespace:
    """Return what the command line says: ``runs`` of each process, and the file ``out`` or None.

    Args:
        description: The benchmark's docstring, of which the first line is shown.
        runs: How many runs there are where the command line does not say.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0] if description else None)
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def seconds(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Return the wall time of one process, which must succeed."""
    started = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def alternate(sides: Mapping[str, Callable[[], float]], *, runs: int) -> dict[str, list[float]]:
    """Time every side once in each run, so that whatever else the machine does meets all of them; print medians."""
    for measure in sides.values():
        measure()  # the first call compiles bytecode and fills the disk's cache
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, measure in sides.items():
            times[name].append(measure())
    width = max(map(len, times))
    for name, median in medians(times).items():
        values = times[name]
        print(f"{name:<{width}} median {median:.3f} s  (min {min(values):.3f}, max {max(values):.3f})")
    return times


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median of each side."""
    return {name: statistics.median(values) for name, values in times.items()}


def write_result(path: Path | None, times: Mapping[str, list[float]], findings: Mapping[str, float]) -> None:
    """Write the times, what was found out from them, and the environment, where a file was asked for."""
    if path is not None:
        result = {"seconds": times, "median_seconds": medians(times), **findings, "environment": collect()}
        path.write_text(json.dumps(result, indent=2) + "\n")
