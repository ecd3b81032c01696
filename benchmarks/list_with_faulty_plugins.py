"""How long `segzoo list` takes with the faulty distributions of the tests, and without: whole processes, alternating.

Usage: python benchmarks/list_with_faulty_plugins.py [--runs 15] [--out FILE]
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from timing import alternate, arguments, medians, seconds, write_result

SITE = Path(__file__).parents[1] / "tests" / "distributions" / "site"
PATHS = {"none": "", "all": str(SITE)}
COMMAND = [sys.executable, "-m", "segzoo", "list"]


def environment(path: str) -> dict[str, str]:
    """Return this process's environment with a folder of packages on its path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))}


def main() -> None:
    """Time both, print medians, and write them with the environment."""
    given = arguments(__doc__, runs=15)
    sides = {name: functools.partial(seconds, COMMAND, environment(path)) for name, path in PATHS.items()}
    times = alternate(sides, runs=given.runs)
    found = medians(times)
    installed = len(list(SITE.glob("*.dist-info")))
    print(f"{installed} distributions cost {found['all'] - found['none']:.3f} s")
    write_result(given.out, times, {"distributions": installed})


if __name__ == "__main__":
    main()
