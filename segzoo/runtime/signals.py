"""SIGINT and SIGTERM as a wish to stop: the step at hand is finished, the state saved, the process ends by name."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from segzoo.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Remembers the signal that asked the run to stop.

    While ``patient`` is unset, or when a second signal comes, the handler raises at once. Where a launcher passes
    signals on, ``repeated`` is set: one wish may come twice.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.patient = False
        self.repeated = False

    def __bool__(self) -> bool:
        return self.signum is not None

    def after_step(self) -> None:
        """Be told that a step is done."""

    def raise_if_asked(self) -> None:
        """Raise what a signal asked for and other code caught on its way, as imports and callbacks do."""
        if self.signum is not None:
            raise Interrupted(self.signum, f"stopped by {signal.Signals(self.signum).name}")

    def handle(self, signum: int, _frame: FrameType | None) -> None:
        """Be the handler of a signal."""
        again = self.signum is not None
        self.signum = signum
        if (again and not self.repeated) or not self.patient:
            self.raise_if_asked()


@contextmanager
def stop_on_signals(request: StopRequest) -> Iterator[StopRequest]:
    """Let a request hear of SIGINT and SIGTERM inside the block; outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {signum: signal.signal(signum, request.handle) for signum in STOPPING}
    try:
        yield request
    except Interrupted:
        raise
    except Exception:
        # An import that a signal broke off may have made another error of it.
        if not request.patient:
            request.raise_if_asked()
        raise
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
