"""How long `segzoo list` takes with the faulty distributions of the tests, and without: whole processes, alternating.

Usage: python benchmarks/list_with_faulty_plugins.py [--runs 15] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from segzoo.environment import collect

SITE = Path(__file__).parents[1] / "tests" / "distributions" / "site"
PATHS = {"none": "", "all": str(SITE)}


def seconds(path: str) -> float:
    """Return the wall time of one `segzoo list`, which must succeed, with a folder of packages on its path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "segzoo", "list"],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def main() -> None:
    """Time both, print medians, and write them with the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for path in PATHS.values():
        seconds(path)  # the first call compiles bytecode and fills the disk's cache
    times: dict[str, list[float]] = {name: [] for name in PATHS}
    for _ in range(arguments.runs):
        for name, path in PATHS.items():
            times[name].append(seconds(path))
    medians = {name: statistics.median(values) for name, values in times.items()}
    installed = len(list(SITE.glob("*.dist-info")))
    for name, values in times.items():
        print(f"{name:<5} median {medians[name]:.3f} s  (min {min(values):.3f}, max {max(values):.3f})")
    print(f"{installed} distributions cost {medians['all'] - medians['none']:.3f} s")
    if arguments.out:
        result = {
            "seconds": times,
            "median_seconds": medians,
            "distributions": installed,
            "environment": collect(),
        }
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
