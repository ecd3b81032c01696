"""A plan runs what is not done, within its minutes, and keeps what came of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gpu.part import Evidence, Figure, Part, Setup
from gpu.process import Stopped, stop_on_signals
from gpu.result import Result, path_of, read
from gpu.running import Plan

from segzoo.environment import collect
from segzoo.errors import UsageFault

ENVIRONMENT = collect()
COUNT = "import pathlib; p = pathlib.Path({path!r}); p.write_text(p.read_text() + 'x' if p.exists() else 'x');"


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """Return a setup whose folder exists."""
    return Setup(tmp_path)


def part_of(setup: Setup, code: str = "", *, name: str = "part", **fields: Any) -> Part:
    """Return a part that counts its runs in a file and then runs code."""
    counted = COUNT.format(path=str(setup.out / f"{name}.runs")) + code
    default: dict[str, Any] = {"minutes": 1.0, "least": 0.01, "judge": lambda _: [Figure("runs", runs(setup, name))]}
    return Part(name, commands=lambda *_: [(sys.executable, "-c", counted)], **{**default, **fields})


def runs(setup: Setup, name: str = "part") -> int:
    """Return how often a part was run."""
    path = setup.out / f"{name}.runs"
    return len(path.read_text()) if path.exists() else 0


def go(setup: Setup, *parts: Part, again: Sequence[str] = (), minutes: float = 5.0) -> list[Result]:
    """Run a plan, and return its results."""
    return list(Plan(setup, parts, again, minutes, ENVIRONMENT).run())


def test_what_is_done_is_not_run_again(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    """The second call returns the result of the first, unless it is asked to repeat it."""
    part = part_of(setup)
    (first,) = go(setup, part)
    (second,) = go(setup, part)
    assert (first.status, runs(setup)) == ("done", 1)
    assert second == replace(first, figures=[*first.figures], commands=second.commands)
    assert "part: done before; --again part repeats it" in capsys.readouterr().err
    go(setup, part, again=["part"])
    assert runs(setup) == 2


def test_a_failure_is_kept_and_tried_again(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason has the exit code and the last line, the log's end is shown, and the parts after it run."""
    bad, good = part_of(setup, "print('why'); raise SystemExit(3)", name="bad"), part_of(setup, name="good")
    results = go(setup, bad, good)
    assert [result.status for result in results] == ["failed", "done"]
    assert results[0].reason == "exit code 3: why; see logs/bad.log"
    assert "why" in capsys.readouterr().err.splitlines()
    go(setup, bad, good)
    assert (runs(setup, "bad"), runs(setup, "good")) == (2, 1)


def test_the_commands_of_a_part_run_until_one_fails(setup: Setup) -> None:
    """What comes after a failed command is not run."""
    one, two = (part_of(setup, code, name=name).commands(setup, name) for code, name in (("1/0", "a"), ("", "b")))
    go(setup, replace(part_of(setup), commands=lambda *_: [*one, *two]))
    assert (runs(setup, "a"), runs(setup, "b")) == (1, 0)


def test_time_that_is_up_is_no_success(setup: Setup) -> None:
    """The figures of what there is are kept, and the part is tried again."""
    part = part_of(setup, "import time; time.sleep(600)", minutes=0.05)
    (result,) = go(setup, part)
    assert (result.status, result.reason) == ("timeout", "stopped after 0.1 minutes")
    assert result.figures[0].value == 1
    go(setup, part)
    assert runs(setup) == 2


def test_a_limit_that_is_the_end_counts_over_calls(setup: Setup) -> None:
    """Training that this call's minutes cut short continues, and is done when it had its own limit in all."""
    part = part_of(setup, "import time; time.sleep(600)", minutes=0.1, ends_at_limit=True)
    (cut,) = go(setup, part, minutes=0.05)
    (done,) = go(setup, part)
    assert (cut.status, done.status) == ("timeout", "done")
    assert done.seconds > cut.seconds
    go(setup, part)
    assert runs(setup) == 2


def test_what_cannot_run_is_skipped_with_its_reason(setup: Setup) -> None:
    """Nothing is started; the reason is in the file."""
    part = part_of(setup, lacks=lambda _: "no data")
    (result,) = go(setup, part)
    assert (result.status, result.reason, runs(setup)) == ("skipped", "no data", 0)
    assert read(setup, part) == replace(result, figures=[])


def test_a_part_without_time_is_skipped(setup: Setup) -> None:
    """Less than the least is left, and the next call runs it."""
    part = part_of(setup, least=2.0)
    (result,) = go(setup, part, minutes=1.0)
    assert (result.status, result.reason) == ("skipped", "1.0 minutes are left; it needs 2 or more")
    assert go(setup, part)[0].status == "done"


def test_a_part_without_time_keeps_what_it_found(setup: Setup) -> None:
    """A result of an earlier call outlives a call that has no time for its part."""
    part = part_of(setup, "1/0", least=2.0)
    (failed,) = go(setup, part)
    (kept,) = go(setup, part, minutes=1.0)
    assert (kept.status, kept.reason, [*kept.figures]) == ("failed", failed.reason, [Figure("runs", 1)])


def test_figures_that_cannot_be_made_fail_the_part_alone(setup: Setup) -> None:
    """An error of one part's figures is its reason, and the plan goes on."""

    def broken(_: Evidence) -> list[Figure]:
        raise KeyError("ratios")

    results = go(setup, part_of(setup, name="bad", judge=broken), part_of(setup, name="good"))
    assert [result.status for result in results] == ["failed", "done"]
    assert results[0].reason == "no figures: KeyError: 'ratios'"


def test_what_a_script_found_moves_into_the_result(setup: Setup) -> None:
    """The file of findings is gone when the result holds it; without success it stays, to be continued."""
    write = f"pathlib.Path({str(setup.found('part'))!r}).write_text('{{\"x\": 1}}');"
    (failed,) = go(setup, part_of(setup, write + "1/0"))
    assert (failed.found, setup.found("part").exists()) == ({"x": 1}, True)
    (done,) = go(setup, part_of(setup, write))
    assert (done.found, setup.found("part").exists()) == ({"x": 1}, False)


def test_a_signal_leaves_the_results_so_far(setup: Setup) -> None:
    """The part at hand has a result that says so, and the next call runs it."""
    kill = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGTERM); time.sleep(600)"
    parts = (part_of(setup, name="one"), part_of(setup, kill, name="two"), part_of(setup, name="three"))
    with pytest.raises(Stopped), stop_on_signals():
        go(setup, *parts)
    states = [read(setup, part) for part in parts]
    assert [state and (state.status, state.reason) for state in states] == [
        ("done", None),
        ("timeout", "stopped by SIGTERM"),
        None,
    ]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    "change",
    [
        lambda setup, environment: (replace(setup, tiny=True), environment),
        lambda setup, environment: (setup, {**environment, "versions": {**environment["versions"], "torch": "0"}}),
    ],
)
def test_results_of_another_plan_are_refused(setup: Setup, change: Callable[..., Any]) -> None:
    """Another size or another torch cannot continue a folder; repeating the part can."""
    part = part_of(setup)
    go(setup, part)
    other, environment = change(setup, ENVIRONMENT)
    with pytest.raises(UsageFault, match=r"another GPU, torch or size: part; choose another --out, or --again part"):
        Plan(other, [part], [], 1.0, environment).refuse_strangers()
    Plan(other, [part], ["part"], 1.0, environment).refuse_strangers()
    Plan(setup, [part], [], 1.0, ENVIRONMENT).refuse_strangers()
    assert path_of(setup, part).is_file()
