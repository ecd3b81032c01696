"""Runs parts within the minutes that there are."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from gpu.part import Part, Setup, shown
from gpu.process import Stopped, last_words, run
from gpu.result import Result, Status, clear, collect, key_of, path_of, read
from segzoo.environment import Environment
from segzoo.errors import UsageFault

SHOWN = 15
"""Lines of a log that are shown where a part fails."""


@dataclass
class Plan:
    """The parts of one call.

    Args:
        setup: How they are run.
        parts: Those that were asked for, in their order.
        again: Names of those that are run although they are done.
        minutes: How long the call may take.
        environment: Versions and machine, for the results.
    """

    setup: Setup
    parts: Sequence[Part]
    again: Collection[str]
    minutes: float
    environment: Environment

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + 60 * self.minutes

    def refuse_strangers(self) -> None:
        """Refuse a folder with results that cannot be continued here.

        Raises:
            UsageFault: If a part has a result of another GPU, torch or size.
        """
        key = key_of(self.environment, tiny=self.setup.tiny)
        known = {part.name: read(self.setup, part) for part in self.parts if part.name not in self.again}
        others = [name for name, result in known.items() if result is not None and result.key() != key]
        if others:
            raise UsageFault(
                f"{self.setup.out} holds results of another GPU, torch or size: {', '.join(others)}; "
                f"choose another --out, or --again {','.join(others)}"
            )

    def run(self) -> Iterator[Result]:
        """Run what is not done, and yield the result of each part once it is written.

        Raises:
            Stopped: If a signal came; the part at hand has a result.
        """
        for number, part in enumerate(self.parts, start=1):
            before = read(self.setup, part)
            if part.name in self.again:
                clear(self.setup, part)
                before = None
            if before is not None and before.status == "done":
                say(f"[{number}/{len(self.parts)}] {part.name}: done before; --again {part.name} repeats it")
                yield before
                continue
            yield self._attempt(part, before, f"[{number}/{len(self.parts)}] {part.name}")

    def _attempt(self, part: Part, before: Result | None, title: str) -> Result:
        spent = before.seconds if before is not None else 0.0
        left = self._deadline - time.monotonic()
        reason = part.lacks(self.setup)
        if reason is None and left < 60 * part.least:
            reason = f"{max(left, 0) / 60:.1f} minutes are left; it needs {part.least:g} or more"
        if reason is not None:
            say(f"{title}: skipped: {reason}")
            if before is not None and before.status != "skipped":
                return before  # it holds what an earlier call found
            return self._keep(part, self._result(part, "skipped", reason, spent))
        own = 60 * part.minutes - (spent if part.ends_at_limit else 0.0)
        limit = min(max(own, 0.0), left)
        say(f"{title}: at most {limit / 60:.1f} minutes")
        started = time.monotonic()
        try:
            status, reason = self._commands(part, limit, whole=own <= left)
        except Stopped as stop:
            self._keep(part, self._judged(part, "timeout", str(stop), spent + time.monotonic() - started))
            raise
        result = self._judged(part, status, reason, spent + time.monotonic() - started)
        say(f"{title}: {result.status} after {time.monotonic() - started:.0f} s{': ' * bool(reason)}{reason or ''}")
        return self._keep(part, result)

    def _commands(self, part: Part, limit: float, *, whole: bool) -> tuple[Status, str | None]:
        """Run the commands of a part, and return its status with the reason."""
        deadline, log = time.monotonic() + limit, self.setup.log(part.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        for words in part.commands(self.setup, part.name):
            code = run(words, log, seconds=max(deadline - time.monotonic(), 0.0))
            if code is None:
                done = part.ends_at_limit and whole
                return ("done" if done else "timeout"), f"stopped after {limit / 60:.1f} minutes"
            if code != 0:
                say(*last_words(log, SHOWN))
                return "failed", f"exit code {code}: {' '.join(last_words(log))}; see {log.relative_to(self.setup.out)}"
        return "done", None

    def _judged(self, part: Part, status: Status, reason: str | None, seconds: float) -> Result:
        """Return the result with the figures of what there is."""
        result = self._result(part, status, reason, seconds)
        try:
            figures, found = collect(self.setup, part)
        except Exception as error:  # figures of one part must not cost those of the others
            return replace(result, status="failed", reason=f"no figures: {type(error).__name__}: {error}")
        if status == "done":
            self.setup.found(part.name).unlink(missing_ok=True)  # the result holds it
        return replace(result, figures=figures, found=found)

    def _result(self, part: Part, status: Status, reason: str | None, seconds: float) -> Result:
        return Result(
            part=part.name,
            status=status,
            reason=reason,
            seconds=round(seconds, 1),
            commands=() if status == "skipped" else [*map(shown, part.commands(self.setup, part.name))],
            tiny=self.setup.tiny,
            environment=self.environment,
        )

    def _keep(self, part: Part, result: Result) -> Result:
        result.write(path_of(self.setup, part))
        return result


def say(*lines: str) -> None:
    """Report progress."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)
