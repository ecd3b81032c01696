"""A process that measures, seen from the one that started it: its lines as they come, and how it ended.

This module needs no torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from segzoo.bench.rows import OUT_OF_MEMORY, Request, Status

CHILD = (sys.executable, "-m", "segzoo.bench.child")
"""The command of a process that measures one model."""

LONGEST_ERROR = 500
"""Characters of a message that a row keeps."""

_PARENT_DEATH_SIGNAL = 1  # of Linux' prctl


@dataclass(frozen=True)
class Ending:
    """Why a process gives no more rows.

    Args:
        status: What that makes of the measurements that are missing.
        error: What is known of it.
    """

    status: Status
    error: str


class Worker:
    """One process that measures a model; leaving the block kills it and all that it has started.

    Args:
        command: What is run; it reads a request on stdin and writes a line for each row.
        request: What it is asked.
        timeout: Seconds that may pass without a line.
    """

    def __init__(self, command: Sequence[str], request: Request, *, timeout: float) -> None:
        self._timeout = timeout
        self._told: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._oom_kills = oom_kills()
        self._hung = False
        # A handler that raises while the process is being started would leave it behind.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._told,
                start_new_session=True,  # so that what it starts can be killed with it
                preexec_fn=lambda: _begin(before),
            )
        except BaseException:
            self._told.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            raise
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            with contextlib.suppress(BrokenPipeError), self._stdin() as stdin:  # it may have ended already
                stdin.write(request.model_dump_json().encode())
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._stdout().close()
        self._told.close()

    def lines(self) -> Iterator[bytes]:
        """Yield each whole line as it comes, until the process ends or says nothing for too long."""
        held = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout(), selectors.EVENT_READ)
            deadline = time.monotonic() + self._timeout
            while selector.select(max(deadline - time.monotonic(), 0)):
                chunk = os.read(self._stdout().fileno(), 1 << 16)
                if not chunk:
                    self._wait_until(deadline)
                    return
                *whole, held = (held + chunk).split(b"\n")
                for line in whole:
                    yield line
                    deadline = time.monotonic() + self._timeout
        self._hung = True

    def ending(self) -> Ending | None:
        """Return what went wrong, or None where the process ended well; it is killed if it has not ended."""
        if self._hung:
            self.kill()
            return Ending("timeout", f"no figure within {self._timeout:g} s; --timeout allows more")
        code = self._process.wait()
        if code == 0:
            return None
        if code < 0:
            return self._killed(-code)
        status: Status = "oom" if code == OUT_OF_MEMORY else "crash"
        return Ending(status, self._last_words() or f"the process ended with exit code {code}")

    def kill(self) -> None:
        """End the process, and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _wait_until(self, deadline: float) -> None:
        """Let a process end that has closed its stdout."""
        try:
            self._process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            self._hung = True

    def _killed(self, signum: int) -> Ending:
        name = signal.Signals(signum).name if signum in set(signal.Signals) else f"signal {signum}"
        before, after = self._oom_kills, oom_kills()
        if signum == signal.SIGKILL and before is not None and after is not None and after > before:
            return Ending("oom", f"ended by {name}: the system ran out of memory")
        words = self._last_words()
        return Ending("crash", f"ended by {name}{': ' * bool(words)}{words}")

    def _last_words(self) -> str:
        """Return the last line that it has written to stderr."""
        self._told.seek(max(self._told.seek(0, os.SEEK_END) - (1 << 16), 0))
        lines = [line.strip() for line in self._told.read().decode(errors="replace").splitlines()]
        return next((line[:LONGEST_ERROR] for line in reversed(lines) if line), "")

    def _stdin(self) -> IO[bytes]:
        return _opened(self._process.stdin)

    def _stdout(self) -> IO[bytes]:
        return _opened(self._process.stdout)


def oom_kills() -> int | None:
    """Return how many processes the kernel has killed for memory, where it counts them."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return None


def _opened(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the process was started without this pipe")
    return pipe


def _begin(mask: set[int | signal.Signals]) -> None:
    """Be a process that takes signals again, and that Linux kills when its parent dies.

    A process that hangs would otherwise keep the device for ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
