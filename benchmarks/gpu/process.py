"""One command of a part: its process, its log, and its end when the time is up."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from gpu.part import ROOT

GRACE = 30.0
"""Seconds that a command has to save and end after SIGTERM, before SIGKILL ends it."""

_PARENT_DEATH_SIGNAL = 1  # of Linux' prctl


class Stopped(BaseException):
    """A signal asked the plan to stop.

    Args:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise :class:`Stopped` on SIGINT and SIGTERM inside the block."""

    def handle(signum: int, _: FrameType | None) -> None:
        raise Stopped(signum)

    before = {signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def run(words: Sequence[str], log: Path, *, seconds: float, grace: float = GRACE) -> int | None:
    """Run a command, and return its exit code, or None where its time was up.

    Args:
        words: The command.
        log: Gets what it prints, after what is there.
        seconds: How long it may run. SIGTERM then asks it to end.
        grace: Seconds from SIGTERM to SIGKILL.
    """
    with log.open("ab") as file:
        file.write(f"$ {' '.join(words)}\n".encode())
        file.flush()
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            process_group=0,  # so that what it starts can be ended with it
            preexec_fn=_end_with_parent,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            end(process, grace)


def end(process: subprocess.Popen[bytes], grace: float) -> None:
    """Ask a process to end, wait, and kill what is left of its group; nothing happens where it has ended."""
    if process.poll() is not None:
        return
    process.terminate()
    stop = time.monotonic() + grace
    while process.poll() is None and time.monotonic() < stop:
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment() -> dict[str, str]:
    """Return the variables by which processes find the checkout first, whatever folder they start in."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONUNBUFFERED": "1"}


def last_words(log: Path, count: int = 1) -> list[str]:
    """Return the last lines of a log that say something."""
    if not log.is_file():
        return []
    lines = log.read_text(errors="replace").splitlines()
    return [line.rstrip() for line in lines if line.strip()][-count:]


def _end_with_parent() -> None:
    """Let Linux end this process when its parent dies: it would hold the device."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
