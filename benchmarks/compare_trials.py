"""How often ``segzoo bench compare`` finds a difference where there is none, and whether it finds a planted one.

Usage: python benchmarks/compare_trials.py [--rounds 21] [--models fast_scnn,…] [--out FILE.json]

Models are measured over and over on the CPU, and each result is compared with the one before it: a trial for each
model. Then they are measured with a clock under which every call takes 15 % longer, as code that became slower would.
Ends with 1 where more than 5 % of the trials find a difference, or the slow-down of a model is not found.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from segzoo.bench.compare import Comparison, compare_rows
from segzoo.bench.rows import Request, Row, Settings
from segzoo.bench.runner import Sweep, run_sweep
from segzoo.bench.selection import choose_models
from segzoo.environment import collect

SETTINGS = Settings(size=(64, 64), batches=(), quick=True, min_seconds=0.2, max_seconds=0.6)
THRESHOLD, TOLERATED, PLANTED = 0.03, 0.05, 0.15
REPEATS, PLANTED_REPEATS = 3, 6
SLOWED = (sys.executable, __file__, "--answer")


class SlowedClock:
    """The wall clock of the CPU, where whatever is timed keeps the processor busy for a share of its time longer.

    Args:
        share: By how much calls take longer.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def now(self) -> float:
        """Return seconds since some fixed moment."""
        return time.perf_counter()

    def latency(self, run: Callable[[], object]) -> float:
        """Return the seconds of one call."""
        started = time.perf_counter()
        run()
        end = started + (1 + self._share) * (time.perf_counter() - started)
        while time.perf_counter() < end:
            pass
        return time.perf_counter() - started

    def series(self, run: Callable[[], object], count: int) -> list[float]:
        """Return the seconds of each of ``count`` calls."""
        return [self.latency(run) for _ in range(count)]


def main() -> int:
    """Measure, compare, print and write; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21, help="How often the models are measured; from 2 on.")
    parser.add_argument("--models", default="fast_scnn,segnet_pets_separable")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answer", action="store_true", help="Be a process of the slowed measurement.")
    options = parser.parse_args()
    if options.answer:
        return answer()
    if options.rounds < 2:
        parser.error(f"--rounds must be at least 2, got {options.rounds}")
    models = choose_models(options.models.split(","))
    started, load = time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        trials = unchanged(models, options.rounds, Path(folder))
        planted = slowed(models, Path(folder))
    wrong = [each for each in trials if each.verdict in ("SLOWER", "FASTER")]
    found = [each for each in planted if each.verdict == "SLOWER"]
    seconds = time.perf_counter() - started
    print(f"{len(wrong)} of {len(trials)} trials without a difference find one; {seconds:.0f} s")
    print(f"{len(found)} of {len(planted)} slow-downs by {PLANTED:.0%} are found")
    if options.out is not None:
        write(options.out, trials, planted, {"seconds": round(seconds), "load_average": [load, os.getloadavg()[0]]})
    return int(len(wrong) > TOLERATED * len(trials) or len(found) < len(planted))


def answer() -> int:
    """Answer the request on stdin as ``segzoo.bench.child`` does, by the slowed clock."""
    # torch starts here, not in the process that starts the others.
    from segzoo.bench.child import measure_model

    for row in measure_model(Request.model_validate_json(sys.stdin.read()), clock=SlowedClock(PLANTED)):
        print(row.model_dump_json(), flush=True)
    return 0


def unchanged(models: Sequence[str], rounds: int, folder: Path) -> list[Comparison]:
    """Measure again and again, and compare each result with the one before."""
    sweep = Sweep(models, SETTINGS, "cpu", REPEATS, timeout=120)
    results = (measured(sweep, folder / f"{number}.jsonl") for number in range(rounds))
    return [
        each for pair in itertools.pairwise(results) for each in shown(compare_rows(*pair, threshold=THRESHOLD).found)
    ]


def slowed(models: Sequence[str], folder: Path) -> list[Comparison]:
    """Measure as it is and slowed, in turns, and compare."""
    plain, slow = list[Row](), list[Row]()
    for repeats in range(1, PLANTED_REPEATS + 1):
        # A sweep with one more repeat goes on with its file: what befalls the machine befalls both.
        sweep = Sweep(models, SETTINGS, "cpu", repeats, timeout=120)
        plain = measured(sweep, folder / "plain.jsonl")
        slow = measured(dataclasses.replace(sweep, command=SLOWED), folder / "slow.jsonl")
    return shown(compare_rows(plain, slow, threshold=THRESHOLD).found)


def measured(sweep: Sweep, path: Path) -> list[Row]:
    """Return the rows of a sweep, all of which must have figures."""
    rows = run_sweep(sweep, path)
    failures = [f"{row.model}: {row.status}: {row.error}" for row in rows if row.status != "ok"]
    if failures:
        raise SystemExit(failures[0])
    return rows


def shown(comparisons: list[Comparison]) -> list[Comparison]:
    """Print a line for each comparison, and return them."""
    for each in comparisons:
        low, high = each.interval
        print(f"{each.what.model:<30} {each.ratio:.3f}  ({low:.3f} to {high:.3f})  {each.verdict}", flush=True)
    return comparisons


def write(path: Path, trials: Sequence[Comparison], planted: Sequence[Comparison], course: dict[str, object]) -> None:
    """Write what was found, with how long it took, the load before and after, and the environment."""
    result = {
        "threshold": THRESHOLD,
        "processes": REPEATS,
        "trials": len(trials),
        "verdicts": Counter(each.verdict for each in trials),
        "planted": PLANTED,
        "planted_processes": PLANTED_REPEATS,
        "planted_verdicts": Counter(each.verdict for each in planted),
        **course,
        "comparisons": [
            {
                "model": each.what.model,
                "slowed": group is planted,
                "ratio": each.ratio,
                "interval": each.interval,
                "verdict": each.verdict,
            }
            for group in (trials, planted)
            for each in group
        ],
        "environment": collect(),
    }
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
