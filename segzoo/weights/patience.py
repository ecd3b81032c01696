"""Downloads that stand still are given up, however patient the client is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from huggingface_hub.utils.tqdm import tqdm

PATIENCE_SECONDS = 25.0
"""How long a download may stand still, with the client's own retries inside."""

T = TypeVar("T")


class Progress:
    """Bytes that a download has brought so far.

    Both the client's progress bars and the files in the cache count: the bars move before a block is written, and the
    files grow while another process downloads and this one waits for its lock.

    Args:
        folder: The repository's folder in the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shown = 0.0

    def bar(self) -> type[tqdm]:
        """Return the client's class of progress bars, made to report here."""
        from huggingface_hub.utils.tqdm import tqdm

        progress = self

        class Bar(tqdm):
            def update(self, n: float | None = 1) -> bool | None:
                progress._shown += n or 0
                drawn: bool | None = super().update(n)
                return drawn

        return Bar

    def __call__(self) -> float:
        """Return their number; it only rises."""
        return self._shown + sum(_size(file) for file in (self._folder / "blobs").glob("*"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # renamed since it was listed
        return 0


def run_while_it_advances(call: Callable[[], T], progress: Callable[[], float]) -> T:
    """Return what ``call`` returns, or give up when ``progress`` has not risen for ``PATIENCE_SECONDS``.

    A thread that is given up dies with the process: nothing in Python can stop a system call that hangs in it.

    Raises:
        TimeoutError: If it was given up.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # handed to the thread that waits
            future.set_exception(error)

    threading.Thread(target=work, name="segzoo-download", daemon=True).start()
    highest, since = progress(), time.monotonic()
    while not wait([future], timeout=0.1).done:
        if (now := progress()) > highest:
            highest, since = now, time.monotonic()
        elif time.monotonic() - since > PATIENCE_SECONDS:
            raise TimeoutError(f"nothing arrived for {PATIENCE_SECONDS:g} s")
    return future.result()
