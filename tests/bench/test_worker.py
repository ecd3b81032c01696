"""What is known of a process that measures, whatever it does."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from segzoo.bench.rows import Request, Settings
from segzoo.bench.worker import LONGEST_ERROR, Ending, Worker

REQUEST = Request(model="segzoo/a", repeat=0, settings=Settings(), device="cpu")


def outcome(code: str, *, timeout: float = 30.0) -> tuple[list[bytes], Ending | None]:
    """Return the lines of a process that runs some code, and its ending."""
    with Worker((sys.executable, "-c", code), REQUEST, timeout=timeout) as worker:
        return list(worker.lines()), worker.ending()


def test_it_gets_the_request_and_gives_lines() -> None:
    """The request arrives whole, lines come back in order, and half a line is no line."""
    code = "import sys; print(sys.stdin.read()); print('end'); print('half', end='')"
    lines, ending = outcome(code)
    assert [Request.model_validate_json(lines[0]), *lines[1:]] == [REQUEST, b"end"]
    assert ending is None


def test_lines_come_as_they_are_written() -> None:
    """A line is there before the process ends."""
    code = "import time; print('now', flush=True); time.sleep(600)"
    with Worker((sys.executable, "-c", code), REQUEST, timeout=60) as worker:
        assert next(worker.lines()) == b"now"


@pytest.mark.parametrize(
    "code", ["import time; time.sleep(600)", "import os, time; print(1); os.close(1); time.sleep(600)"]
)
def test_silence_is_a_timeout(code: str) -> None:
    """A process that hangs is killed, also one that has closed its stdout."""
    _, ending = outcome(code, timeout=1.5)
    assert ending == Ending("timeout", "no figure within 1.5 s; --timeout allows more")


def test_a_line_gives_more_time() -> None:
    """The time that is allowed is that between two lines."""
    code = "import time\nfor _ in range(6): print('on', flush=True); time.sleep(0.5)"
    lines, ending = outcome(code, timeout=2.0)
    assert (len(lines), ending) == (6, None)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise SystemExit(3)", "the process ended with exit code 3"),
        ("import sys; print('first\\nlast\\n\\n', file=sys.stderr); sys.exit(2)", "last"),
        ("import sys; sys.exit('x' * 2000)", "x" * LONGEST_ERROR),
        (
            "import os, sys; print('why', file=sys.stderr, flush=True); os.kill(os.getpid(), 15)",
            "ended by SIGTERM: why",
        ),
    ],
)
def test_the_last_words_are_the_reason(code: str, error: str) -> None:
    """A row's error is the last line of stderr, cut to what a row can hold, or the exit code."""
    assert outcome(code)[1] == Ending("crash", error)


def test_a_process_that_does_not_listen_is_no_fault_of_ours() -> None:
    """A process that ends before it has read the request is told by its exit code."""
    assert outcome("import os; os.close(0); os._exit(5)")[1] == Ending("crash", "the process ended with exit code 5")


def test_what_it_has_started_ends_with_it(tmp_path: Path) -> None:
    """A process of the process does not outlive the block, even where both are stuck."""
    code = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    with Worker((sys.executable, "-c", code), REQUEST, timeout=60) as worker:
        grandchild = int(next(worker.lines()))
    state = Path(f"/proc/{grandchild}/stat")
    # It may lie there as a zombie until whoever inherits it looks.
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        os.kill(grandchild, 0)
        time.sleep(0.02)
