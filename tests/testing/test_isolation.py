"""What runs apart may raise, crash or hang without harm."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
import torch

from segzoo.testing.isolation import run_apart
from segzoo.testing.subject import ContractError


def test_work_sees_this_process_and_changes_nothing_here() -> None:
    """The child has what exists here in memory alone; what it changes stays there."""
    seen = [1]

    def work() -> None:
        if seen != [1] or torch.get_num_threads() != 1:
            raise AssertionError
        seen.append(2)

    run_apart(work, timeout_s=60)
    assert seen == [1]


def fail() -> None:
    """Raise a kit's error."""
    raise ContractError("so it is")


def surprise() -> None:
    """Raise an error that nobody expected."""
    raise KeyError("a")


def crash() -> None:
    """Die as a process does whose native code is wrong."""
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    """End the process without a word."""
    os._exit(7)


def hang() -> None:
    """Never come back."""
    time.sleep(600)


@pytest.mark.parametrize(
    ("work", "timeout_s", "message"),
    [
        (fail, 60, "so it is"),
        (surprise, 60, r"KeyError: 'a' \(test_isolation.py, line \d+\)"),
        (crash, 60, "the process died of the signal SIGSEGV"),
        (leave, 60, "the process died of exit code 7"),
        (hang, 0.2, "no end after 0.2 seconds"),
    ],
)
def test_every_end_is_told(work: Callable[[], None], timeout_s: float, message: str) -> None:
    """However the work ends, the caller gets one error that says how."""
    with pytest.raises(ContractError, match=f"^{message}$"):
        run_apart(work, timeout_s=timeout_s)


def test_the_child_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither stream of the caller gets what the work says, but the last words of a crash are in the error."""

    def work() -> None:
        os.system("echo noise; echo free: invalid pointer >&2")
        os.kill(os.getpid(), signal.SIGABRT)

    with pytest.raises(ContractError, match=r"^the process died of the signal SIGABRT: free: invalid pointer$"):
        run_apart(work, timeout_s=60)
    assert capfd.readouterr() == ("", "")
