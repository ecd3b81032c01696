"""Runs segzoo in several processes as a launcher does; run as a script by test_distributed.py.

Each line of stdin is a job, a JSON mapping:

    command    words after ``segzoo``
    processes  how many are started
    fault      ``[rank, place, what]``: what befalls a process right after a method's count-th call; the place is
               ``<method of the trainer or the world>:<count>``, and what is a signal's number or the text of an error
    figures    whether figures are drawn, which takes longer than a small run

For each it prints a line, a JSON mapping with the ``codes`` and ``messages`` of the processes by rank. No launcher ends
the others when one ends: what they do by themselves is seen.

The parent imports everything once and never computes, so that each process begins without the seconds of importing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

# So that no child has to import what training imports late.
import torch._inductor
import torch.utils.tensorboard  # noqa: F401

import segzoo.training.session
from segzoo.cli import main
from segzoo.errors import DataError
from segzoo.runtime.distributed import World
from segzoo.training.loop import Trainer

TIMEOUT_S = 60


def strike(place: str, what: int | str) -> None:
    """Let a fault befall this process right after a method's count-th call."""
    name, _, count = place.partition(":")
    owner: Any = Trainer if hasattr(Trainer, name) else World
    method = getattr(owner, name)
    left = int(count)

    def struck(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal left
        result = method(self, *arguments, **options)
        left -= 1
        if left == 0 and isinstance(what, int):
            os.kill(os.getpid(), what)
        elif left == 0:
            raise DataError(str(what))
        return result

    setattr(owner, name, struck)


def be_process(job: dict[str, Any], rank: int, port: int, messages: Path) -> None:
    """Be one process of a job, and never return."""
    size = job["processes"]
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    stream = os.open(messages, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    if job.get("fault") and job["fault"][0] == rank:
        strike(*job["fault"][1:])
    if not job.get("figures"):
        segzoo.training.session.draw_figures = lambda trainer, run: None
    sys.argv = ["segzoo", *job["command"]]
    code = 70
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a job to its end, or kill what hangs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = [folder / f"{rank}.txt" for rank in range(job["processes"])]
    children = []
    for rank, messages in enumerate(files):
        child = os.fork()
        if child == 0:
            be_process(job, rank, port, messages)
        children.append(child)
    codes: dict[int, int] = {}
    deadline = time.monotonic() + TIMEOUT_S
    while len(codes) < len(children):
        for child in set(children) - codes.keys():
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                codes[child] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return {"codes": [codes[child] for child in children], "messages": [path.read_text() for path in files]}


if __name__ == "__main__":
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as name:
            print(json.dumps(run(json.loads(line), Path(name))), flush=True)
