"""How long `segzoo list` takes beside `timm.list_models()`: whole processes, alternating, in one run.

Usage: python benchmarks/list_startup.py [--runs 7] [--out benchmarks/results/list_startup.json]
"""

from __future__ import annotations

import functools
import sys

from timing import alternate, arguments, medians, seconds, write_result

COMMANDS = {
    "segzoo list": [sys.executable, "-m", "segzoo", "list"],
    "timm.list_models()": [sys.executable, "-c", "import timm; timm.list_models()"],
}


def main() -> None:
    """Time both, print medians and their ratio, and write them with the environment."""
    given = arguments(__doc__, runs=7)
    sides = {name: functools.partial(seconds, command) for name, command in COMMANDS.items()}
    times = alternate(sides, runs=given.runs)
    ours, theirs = medians(times).values()
    print(f"ratio {theirs / ours:.1f}")
    write_result(given.out, times, {"ratio": theirs / ours})


if __name__ == "__main__":
    main()
