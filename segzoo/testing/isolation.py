"""Work that may crash or hang runs in a process of its own."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import signal
import tempfile
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import IO

import torch

from segzoo.testing.describe import describe
from segzoo.testing.subject import ContractError


def run_apart(work: Callable[[], None], *, timeout_s: float) -> None:
    """Run ``work`` in a child that sees all of this process as it is now.

    Args:
        work: What to do; nothing it changes comes back.
        timeout_s: Seconds until the child is killed.

    Raises:
        ContractError: If the work raises, kills its process, or takes too long.
    """
    # Forked, since a model or its spec may exist in this process alone, and a new one would import torch anew.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    with receiver, tempfile.TemporaryFile() as said:
        process = context.Process(target=_child, args=(work, sender, said), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads; the child has none
            process.start()
        sender.close()
        try:
            fault = receiver.recv() if receiver.poll(timeout_s) else f"no end after {timeout_s:g} seconds"
        except EOFError:
            process.join()
            fault = f"the process died of {_ending(process.exitcode)}{_last_line(said)}"
        finally:
            process.kill()
            process.join()
    if fault:
        raise ContractError(fault)


def _child(work: Callable[[], None], sender: Connection, said: IO[bytes]) -> None:
    torch.set_num_threads(1)  # threads of the parent do not exist here
    gc.disable()  # the process ends before that would pay
    faulthandler.disable()  # the parent tells of a crash
    for descriptor in (1, 2):
        os.dup2(said.fileno(), descriptor)
    try:
        work()
    except Exception as error:
        sender.send(describe(error))
    else:
        sender.send("")


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"the signal {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"


def _last_line(said: IO[bytes]) -> str:
    """Return what a process said last, which may tell why it died."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""
