"""Everything that needs a GPU, in one command that can be interrupted and called again.

Usage: python benchmarks/gpu_plan.py [--minutes 25] [--out runs/gpu] [--camvid FOLDER] [--parts A,B] [--again A,B]
                                     [--device cuda] [--tiny] [--dry-run]

Each part of the table below runs in a process of its own, within a time limit, and leaves OUT/<part>.json with its
status, its figures, the goals that it missed, and the environment. A part that is done is not run again; one that was
cut short goes on where it stopped, as far as it can. Ends with 1 where a part failed, missed a goal or is still to be
done, and with 3 where the device is not available.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segzoo.bench.probe import find_device
from segzoo.environment import collect
from segzoo.errors import SegzooError

ROOT = Path(__file__).parents[1]
GRACE = 20
"""Seconds between asking a part to stop and killing it."""
LEAST = 20
"""Seconds that must be left for a part to begin."""


class Part(NamedTuple):
    """One part of the plan.

    Args:
        name: Names the result file.
        minutes: Its time limit.
        about: What it shows.
    """

    name: str
    minutes: float
    about: str


PARTS = (
    Part("environment", 1, "versions, device, driver"),
    Part("modes", 4, "bench of fast_scnn in all modes"),
    Part("tests", 5, "tests marked gpu"),
    Part("no_sync", 2, "training step, evaluation and losses never wait for the device"),
    Part("throughput", 6, "finetune against the bare compiled step and a plain float32 loop"),
    Part("latency", 8, "one image in all modes, four models"),
    Part("agreement", 2, "our clock against triton's, with a cold L2 cache"),
    Part("zoo", 9, "every model in eager and graph"),
    Part("camvid_fast_scnn", 10, "recipe camvid_fast_scnn"),
    Part("camvid_segnet", 10, "recipe camvid_segnet"),
    Part("camvid_unet_resnet34", 10, "recipe camvid_unet_resnet34"),
)


def main() -> int:
    """Run what is left of the plan, print a table, and return the exit code."""
    options = _options()
    if options.dry_run:
        for part in options.chosen:
            limit = f"{part.minutes:g} min"
            print(f"{part.name:<22} {limit:>7}  {_status(options.out, part):<8} {' '.join(_command(part, options))}")
        return 0
    try:
        options.device = find_device(options.device)
    except SegzooError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    for part in options.chosen:
        if _status(options.out, part) in ("done", "skipped") and part.name not in options.again:
            continue
        left = end - time.monotonic()
        if left < LEAST:
            print(f"{part.name}: no time left; call again", file=sys.stderr)
            continue
        _run(part, options, min(60 * part.minutes, left))
    return _report(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=25, help="Minutes for all parts together.")
    parser.add_argument("--out", type=Path, default=Path("runs", "gpu"), help="Folder of the results.")
    parser.add_argument("--camvid", type=Path, help="CamVid, for the parts that train its recipes.")
    parser.add_argument("--parts", default=",".join(part.name for part in PARTS), help="Which parts.")
    parser.add_argument("--again", default="", help="Parts to run although they are done.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="Sizes that try out the plan, with figures of no worth.")
    parser.add_argument("--dry-run", action="store_true", help="List the parts, and run none.")
    options = parser.parse_args()
    known = {part.name: part for part in PARTS}
    wanted, again = ([name for name in text.split(",") if name] for text in (options.parts, options.again))
    if unknown := sorted({*wanted, *again} - known.keys()):
        parser.error(f"parts are {', '.join(known)}; got {', '.join(map(repr, unknown))}")
    options.chosen = [part for part in PARTS if part.name in (*wanted, *again)]
    options.again = again
    return options


def _command(part: Part, options: argparse.Namespace) -> list[str]:
    """Return the command of a part; its result goes where ``_result`` looks for it."""
    words = [sys.executable, str(Path(__file__).with_name("gpu_parts.py")), part.name]
    words += ["--out", str(options.out), "--device", options.device]
    if options.camvid is not None:
        words += ["--camvid", str(options.camvid)]
    return [*words, "--tiny"] if options.tiny else words


def _run(part: Part, options: argparse.Namespace, seconds: float) -> None:
    """Run a part within a number of seconds, and write what became of it."""
    print(f"{part.name}: {part.about}, at most {seconds / 60:.1f} min", file=sys.stderr)
    command = [*_command(part, options), "--seconds", f"{seconds:.0f}"]
    result = options.out / f"{part.name}.result.json"
    result.unlink(missing_ok=True)
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    started = time.monotonic()
    log = options.out / f"{part.name}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "NO_ALBUMENTATIONS_UPDATE": "1"},
            start_new_session=True,
        )
        status, reason = _wait(process, seconds)
    found: dict[str, Any] = {"figures": {}, "missed": []}
    if result.exists():
        found |= json.loads(result.read_text())
        status = found.pop("status", status if status != "failed" else "done")
        result.unlink()
    elif status == "failed":
        reason = reason or _last_line(log)
    document = {
        "part": part.name,
        "status": status,
        "reason": found.pop("reason", None) or reason,
        "tiny": options.tiny,
        "seconds": round(time.monotonic() - started, 1),
        "command": command,
        **found,
        "environment": collect(),
    }
    temporary = options.out / f"{part.name}.partial"
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    temporary.replace(options.out / f"{part.name}.json")


def _wait(process: subprocess.Popen[bytes], seconds: float) -> tuple[str, str | None]:
    """Wait for a process, end it when its time is up, and return status and reason."""
    try:
        code = process.wait(seconds + GRACE)
    except subprocess.TimeoutExpired:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(process.pid, signum)
            try:
                process.wait(GRACE)
                break
            except subprocess.TimeoutExpired:
                continue
        return "timeout", f"stopped after {seconds + GRACE:.0f} s"
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return ("done", None) if code == 0 else ("failed", f"exit code {code}" if code > 0 else f"signal {-code}")


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _status(out: Path, part: Part) -> str:
    path = out / f"{part.name}.json"
    return str(json.loads(path.read_text())["status"]) if path.exists() else "to do"


def _report(options: argparse.Namespace) -> int:
    """Print a line for each part, and return 1 where something failed, was missed, or is left."""
    faults = 0
    for part in options.chosen:
        path = options.out / f"{part.name}.json"
        if not path.exists():
            print(f"{part.name:<22} to do")
            faults += 1
            continue
        found = json.loads(path.read_text())
        missed: Sequence[str] = found["missed"]
        faults += found["status"] not in ("done", "skipped") or bool(missed)
        print(
            f"{part.name:<22} {found['status']:<8} {found['seconds'] / 60:5.1f} min  {found['reason'] or ''}".rstrip()
        )
        for line in missed:
            print(f"  missed: {line}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
