"""Trains in forked children that are stopped at chosen moments; the fixture ``chains`` runs it as a script.

Each line of stdin is a JSON object: ``recipe``, ``out`` and ``place``, and perhaps ``tmpdir``, the child's TMPDIR. A
place is one of

- ``end``: the child runs to the end.
- ``<method>:<count>``: it is killed with SIGKILL right after the method's count-th call in it. The method is one of the
  trainer's, or ``append_row``.
- ``<signal>@<phase>:<seconds>``: a signal comes so long after the command ``started``, began ``training`` or began to
  draw ``figures``, wherever it is then. It may have ended before.
- ``full:<count>:<bytes>``: when the child opens its count-th file for writing, the disk has so many bytes left. Ballast
  fills it where the run lies on a small file system, as ``fill`` says; elsewhere no file may be larger than that.

The answer is a line with the exit code, as Python has it, the ``seconds`` it took, and what was ``told`` on stderr.
The parent imports everything once and never computes, so that each child begins without the seconds of importing.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# So that no child has to import what training imports late.
import matplotlib.backends.backend_agg  # noqa: F401
import torch._inductor
import torch.utils.tensorboard  # noqa: F401

import segzoo.runs.report  # noqa: F401
from segzoo.cli import app, finetune
from segzoo.runs.rundir import RunDirectory
from segzoo.training import session
from segzoo.training.loop import Trainer
from segzoo.training.saving import Saving

OWNERS = {"append_row": RunDirectory, "save": Saving}
PHASES: dict[str, tuple[Any, str]] = {
    "started": (finetune, "read_recipe"),
    "training": (Trainer, "train"),
    "figures": (session, "draw_figures"),
}


def kill_after(name: str, count: int) -> None:
    """Make this process die right after a method's count-th call."""
    owner: Any = OWNERS.get(name, Trainer)
    method: Callable[..., Any] = getattr(owner, name)
    left = count

    def dying(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal left
        result = method(self, *arguments, **options)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


def tell_when(phase: str, pipe: int) -> None:
    """Make this process write to a pipe when a phase begins."""
    owner, name = PHASES[phase]
    function: Callable[..., Any] = getattr(owner, name)

    def telling(*arguments: Any, **options: Any) -> Any:
        os.write(pipe, b"!")
        return function(*arguments, **options)

    setattr(owner, name, telling)


def fill_at(out: Path, count: int, room: int, ballast: str | None) -> None:
    """Let the disk be full from the moment on at which this process opens its count-th file of the run for writing."""
    left, inside = count, f"{out}/"

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event != "open" or not str(arguments[0]).startswith(inside) or not arguments[2] & os.O_ACCMODE:
            return
        left -= 1
        if left == 0:
            fill(room, ballast)

    sys.addaudithook(watch)


def fill(room: int, ballast: str | None) -> None:
    """Take all of the disk but ``room`` bytes, or forbid larger files."""
    if ballast is None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        return
    file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    free = os.fstatvfs(file)
    try:
        os.posix_fallocate(file, 0, free.f_bavail * free.f_frsize - room)
    except OSError as error:
        if error.errno != errno.EINVAL:  # nothing is left to be taken
            raise
    finally:
        os.close(file)


def run(recipe: str, out: str, log: int, tmpdir: str | None) -> int:
    """Train as the command line does, with stderr into a pipe, and return the exit code."""
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if tmpdir is not None:
        os.environ["TMPDIR"] = tmpdir
        tempfile.tempdir = None
    try:
        app(["finetune", recipe, "--out", out, "--device", "cpu", "--resume"])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Train in a child that may be stopped, and return how it ended."""
    (read, write), (told, log) = os.pipe(), os.pipe()
    place: str = request["place"]
    name, timed, moment = place.partition("@")
    phase, _, seconds = moment.partition(":")
    child = os.fork()
    if child == 0:
        os.close(read)
        if timed:
            tell_when(phase, write)
        elif name.startswith("full:"):
            count, room = map(int, name.split(":")[1:])
            fill_at(Path(request["out"]), count, room, request.get("fill"))
        elif name != "end":
            method, _, calls = name.partition(":")
            kill_after(method, int(calls))
        os._exit(run(request["recipe"], request["out"], log, request.get("tmpdir")))
    os.close(write)
    os.close(log)
    began = time.monotonic()
    if timed and os.read(read, 1):
        time.sleep(float(seconds))
        os.kill(child, signal.Signals[name])
    os.close(read)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"code": code, "seconds": time.monotonic() - began, "told": drain(told)}


def drain(pipe: int) -> str:
    """Return what lies in a pipe and close it, whoever may still hold its other end."""
    os.set_blocking(pipe, False)
    with open(pipe, "rb", buffering=0) as file:
        return (file.read(2**20) or b"").decode()


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(train(json.loads(line))), flush=True)
