"""Runs the tests marked ``gpu``, and writes each outcome as it comes.

Usage: python benchmarks/gpu_tests.py [--out FILE.json] [TEST_FILE ...]

Needs pytest and none of its plugins. Only files that hold such a test are collected, so that what others import does
not matter. The same command with ``--out`` on an existing file leaves out the tests that passed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TypedDict

import pytest

from segzoo.environment import collect
from segzoo.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 2000
"""Characters of a message that are kept."""


class Outcome(TypedDict):
    """What became of a test: ``passed``, ``failed`` or ``skipped``, its seconds, and why."""

    outcome: str
    seconds: float
    message: str


class Recorder:
    """A plugin of pytest that writes outcomes to a file and leaves out what passed before.

    Args:
        path: The file; None writes none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        known = json.loads(path.read_text())["tests"] if path is not None and path.is_file() else {}
        self.tests: dict[str, Outcome] = {name: each for name, each in known.items() if each["outcome"] == "passed"}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what passed before."""
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in self.tests])
        items[:] = [item for item in items if item.nodeid not in self.tests]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep a file that cannot be collected as a failed test."""
        if report.failed:
            self._keep(report.nodeid, "failed", 0.0, str(report.longrepr))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a test; a failure in its setup or teardown is one of the test."""
        known = self.tests.get(report.nodeid)
        if report.when == "call" or not report.passed:
            outcome = "failed" if known is not None and known["outcome"] == "failed" else report.outcome
            self._keep(report.nodeid, outcome, report.duration, _reason(report))

    def _keep(self, name: str, outcome: str, seconds: float, message: str) -> None:
        self.tests[name] = {"outcome": outcome, "seconds": round(seconds, 3), "message": message[-LONGEST:]}
        if self._path is not None:
            write_atomic(self._path, json.dumps({"tests": self.tests, "environment": ENVIRONMENT}, indent=2) + "\n")


ENVIRONMENT = collect()


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return "" if report.longrepr is None else str(report.longrepr)


def files() -> list[Path]:
    """Return the test files that hold a test marked ``gpu``."""
    return sorted(path for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text())


def main() -> int:
    """Run the tests, and return 0 where all of them have an outcome."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="TEST_FILE", help="Absent, all that hold a test marked gpu.")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    chosen = options.files or [str(path.relative_to(ROOT)) for path in files()]
    recorder = Recorder(options.out)
    words = ("-m", "gpu", "-q", "-rs", "-p", "no:cacheprovider", "--rootdir", str(ROOT))
    code = pytest.main([*words, "--continue-on-collection-errors", *chosen], plugins=[recorder])
    # Failed tests are outcomes, and where all passed before none is left.
    expected = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
    if code in expected and recorder.tests:
        return 0
    print("no test marked gpu was found" if code in expected else f"pytest ended with {code}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
