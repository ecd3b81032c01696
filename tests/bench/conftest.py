"""Rows as processes write them, and a headless browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from segzoo.bench.rows import Row, Settings

ROW = {
    "model": "segzoo/segnet",
    "parameters": 29_449_932,
    "gmacs": 141.85,
    "input": (3, 32, 48),
    "device": "cpu",
    "mode": "eager",
    "kind": "latency",
    "batch_size": 1,
    "effective_batch": 1,
    "latency_ms": 10.0,
    "samples": 3,
    "samples_ms": (10.0, 10.1, 9.9),
    "images_per_second": 100.0,
    "converged": True,
    "status": "ok",
    "repeat": 0,
    "settings": Settings(),
    "environment": {"versions": {"torch": "2.9", "segzoo": "1"}, "state": {"load_average": 1.0}},
    "environment_key": "a",
    "started": "2026-01-01T00:00:00+00:00",
}
FAILED = {
    "status": "oom",
    "error": "no memory",
    "effective_batch": None,
    "latency_ms": None,
    "samples": 0,
    "samples_ms": (),
    "images_per_second": None,
    "converged": False,
}

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--window-size=1200,900",
    "--remote-debugging-pipe",
)


@pytest.fixture(scope="session")
def make_row() -> Callable[..., Row]:
    """Return a function that makes a row with figures, or one without, which differs from others in some fields."""

    def make(*, failed: bool = False, **fields: object) -> Row:
        return Row.model_validate({**ROW, **(FAILED if failed else {}), **fields})

    return make


class Browser:
    """One page in a headless browser, which is talked to through two pipes.

    Args:
        command: The browser.
        profile: An empty folder for what it stores.
        url: The page.
    """

    def __init__(self, command: str, profile: Path, url: str) -> None:
        self._number = 0
        self._held = b""
        self.events: list[dict[str, Any]] = []
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The browser reads its file descriptor 3 and writes to 4; other shells know descriptors of one digit alone.
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", command, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._session: str | None = None
        self._url = url

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def evaluate(self, script: str) -> Any:
        """Return what JavaScript evaluates to on the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Return errors of scripts, and what the page's security policy refused."""
        self.evaluate("0")  # so that what was said before is read
        thrown = [event["params"] for event in self.events if event["method"] == "Runtime.exceptionThrown"]
        logged = [event["params"]["entry"] for event in self.events if event["method"] == "Log.entryAdded"]
        return [str(entry) for entry in (*thrown, *logged)]

    def requested(self) -> list[str]:
        """Return the addresses that the page asked for."""
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def _open(self) -> None:
        """Load the page and wait until it is there."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call("Page.navigate", url=self._url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._read()

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps({"id": number, "method": method, "params": params, **session}).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        """Return the next message; events are kept."""
        while b"\0" not in self._held:
            chunk = os.read(self._in, 1 << 16)
            assert chunk, "the browser ended"
            self._held += chunk
        message, _, self._held = self._held.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        if "method" in found:
            self.events.append(found)
        return found


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[[Path], Browser]]:
    """Return a function that opens a file in a headless browser."""
    command = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if command is None:
        pytest.skip(f"there is no browser: {', '.join(BROWSERS)}")
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(Browser(command, tmp_path / "profile", path.as_uri()))
