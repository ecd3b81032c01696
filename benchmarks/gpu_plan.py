"""Everything that needs a GPU, in the order of what it tells: one command that can be interrupted and resumed.

Usage: python benchmarks/gpu_plan.py [--minutes 25] [--parts a,b] [--again a] [--camvid FOLDER] [--tiny] [--dry-run]

``benchmarks/gpu/table.py`` is the plan. Each part runs in processes of its own and has a limit. Its result goes to
``<out>/<part>.json`` when it ends; a part that is done is not run again. Ends with 1 where a part failed, ran out of
time or missed a goal, with 2 on a usage error, and with 3 where there is no GPU.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]

if TYPE_CHECKING:
    from gpu.part import Part


def main() -> int:
    """Run the plan, or list it; return the exit code."""
    # A checkout that is not installed has to find its own package.
    sys.path.insert(0, str(ROOT))
    from gpu.process import environment
    from gpu.table import PARTS

    from segzoo.errors import DeviceError, SegzooError

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options = read_options(parser, [part.name for part in PARTS])
    os.environ.update(environment())
    try:
        return run(options, [part for part in PARTS if part.name in options.parts])
    except SegzooError as error:
        print(f"{'the plan needs a GPU: ' * isinstance(error, DeviceError)}{error}", file=sys.stderr)
        return error.exit_code


def read_options(parser: argparse.ArgumentParser, names: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line, checked."""
    parser.add_argument("--minutes", type=float, default=25.0, help="How long this call may take.")
    parser.add_argument("--parts", default=",".join(names), help="Only these parts, separated by commas.")
    parser.add_argument("--again", default="", help="Parts to repeat from nothing, separated by commas.")
    parser.add_argument("--camvid", type=Path, metavar="FOLDER", help="The folder of CamVid.")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="Absent, benchmarks/results/gpu.")
    parser.add_argument("--tiny", action="store_true", help="Shrink every part to what shows that it runs.")
    parser.add_argument("--dry-run", action="store_true", help="List the parts and their commands.")
    options = parser.parse_args()
    for option in ("parts", "again"):
        chosen = [word for word in getattr(options, option).split(",") if word]
        if unknown := sorted(set(chosen) - set(names)):
            parser.error(f"--{option} must be among {', '.join(names)}, got {', '.join(map(repr, unknown))}")
        setattr(options, option, chosen)
    if not options.parts:
        parser.error("--parts names no part")
    if ignored := sorted(set(options.again) - set(options.parts)):
        parser.error(f"--again {','.join(ignored)} does nothing: --parts leaves it out")
    if not options.minutes > 0:
        parser.error(f"--minutes must be above 0, got {options.minutes:g}")
    if options.tiny and options.out is None:
        parser.error("--tiny needs --out, so that its results do not lie among those of the whole plan")
    options.out = (options.out or ROOT / "benchmarks" / "results" / "gpu").resolve()
    return options


def run(options: argparse.Namespace, parts: Sequence[Part]) -> int:
    """Run the parts that are not done, print the table, and return the exit code.

    Raises:
        SegzooError: If there is no GPU, or the folder of results holds others.
    """
    from gpu.part import Setup
    from gpu.process import Stopped, stop_on_signals
    from gpu.result import read
    from gpu.running import Plan
    from gpu.summary import listing, summary

    from segzoo.bench.probe import find_device
    from segzoo.environment import collect

    camvid = None if options.camvid is None else options.camvid.resolve()
    setup, stopped = Setup(options.out, tiny=options.tiny, camvid=camvid), None
    if options.dry_run:
        print(listing(setup, parts, options.again))
        return 0
    find_device("cuda")
    plan = Plan(setup, parts, options.again, options.minutes, collect())
    plan.refuse_strangers()
    setup.out.mkdir(parents=True, exist_ok=True)
    with stop_on_signals():
        try:
            for _ in plan.run():
                pass
        except Stopped as stop:
            stopped = stop
    results = [result for part in parts if (result := read(setup, part)) is not None]
    print(summary(results))
    if stopped is not None:
        print(f"{stopped}; the same command continues", file=sys.stderr)
        return 128 + stopped.signum
    return int(not all(result.good for result in results))


if __name__ == "__main__":
    sys.exit(main())
