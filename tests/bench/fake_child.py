"""A process that answers a request with made-up rows, and goes wrong where the model's name says so.

Names are ``segzoo/<fault>`` or ``segzoo/<fault>_in_<mode>``: the fault comes before the first row of that mode.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from segzoo.bench.environment import describe_environment, environment_key
from segzoo.bench.rows import OUT_OF_MEMORY, Measurement, Request, Row, planned


def row_of(request: Request, measurement: Measurement, **fields: object) -> Row:
    """Return a row as a process would write it."""
    environment = describe_environment(request.device)
    known = {
        "model": request.model,
        "parameters": 10,
        "gmacs": 0.5,
        "input": (3, *request.settings.size),
        "device": request.device,
        **measurement._asdict(),
        "effective_batch": measurement.batch_size,
        "latency_ms": 2.0,
        "samples": 3,
        "samples_ms": (2.0, 2.0, 2.0),
        "converged": True,
        "status": "ok",
        "repeat": request.repeat,
        "settings": request.settings,
        "environment": environment,
        "environment_key": environment_key(environment),
        "started": "2026-01-01T00:00:00+00:00",
    }
    return Row.model_validate({**known, **fields})


def go_wrong(fault: str) -> None:
    """Do what the name says."""
    match fault:
        case "raise":
            raise RuntimeError("the model fell over")
        case "memory":
            print("MemoryError: no memory for 9 GiB", file=sys.stderr)
            sys.exit(OUT_OF_MEMORY)
        case "hang":
            time.sleep(600)
        case "abort":
            os.abort()
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave":
            sys.exit(0)
        case "babble":
            print("hello", flush=True)


def main() -> None:
    """Answer one request; each is noted in a file whose name is the first argument."""
    request = Request.model_validate_json(sys.stdin.read())
    with Path(sys.argv[1]).open("a") as log:
        log.write(f"{request.model} {request.repeat} {','.join(request.settings.modes)}\n")
    fault, _, mode = request.model.removeprefix("segzoo/").partition("_in_")
    for measurement in planned(request.settings):
        if mode in ("", measurement.mode):
            go_wrong(fault)
        print(row_of(request, measurement).model_dump_json(), flush=True)
        if fault == "slow":
            time.sleep(0.2)


if __name__ == "__main__":
    main()
