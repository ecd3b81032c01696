"""How long `segzoo list` takes beside `timm.list_models()`: whole processes, alternating, in one run.

Usage: python benchmarks/list_startup.py [--runs 7] [--out benchmarks/results/list_startup.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from segzoo.environment import collect

COMMANDS = {
    "segzoo list": [sys.executable, "-m", "segzoo", "list"],
    "timm.list_models()": [sys.executable, "-c", "import timm; timm.list_models()"],
}


def seconds(command: list[str]) -> float:
    """Return the wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Time both, print medians and their ratio, and write them with the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for command in COMMANDS.values():
        seconds(command)  # the first call compiles bytecode and fills the disk's cache
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(arguments.runs):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours, theirs = medians.values()
    for name, values in times.items():
        print(f"{name:<20} median {medians[name]:.3f} s  (min {min(values):.3f}, max {max(values):.3f})")
    print(f"ratio {theirs / ours:.1f}")
    if arguments.out:
        result = {"seconds": times, "median_seconds": medians, "ratio": theirs / ours, "environment": collect()}
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
