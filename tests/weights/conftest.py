"""A small hub on the loopback address, to which the real client is pointed."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import types
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from safetensors.torch import save
from torch import Tensor

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """As much of the hub as the client asks for: HEAD and GET of files at a commit or on the main branch."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.commits: dict[str, dict[str, bytes]] = {COMMIT: {}}
        self.main = COMMIT
        self.requests: list[str] = []
        self.cut_at: int | None = None
        self.refusal: tuple[int, str] | None = None
        self.stall = threading.Event()
        self.stall.set()

    @property
    def address(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the main branch by repository and name, such as ``acme/tiny/model.safetensors``."""
        return self.commits[self.main]

    def offer(self, tensors: Mapping[str, Tensor], repository: str = "acme/tiny", **description: Any) -> None:
        """Put tensors into a repository, with a description beside them if there is any."""
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        self.files[f"{repository}/model.safetensors"] = content
        if description:
            described = {**description, "provenance": {"weights_sha256": hashlib.sha256(content).hexdigest()}}
            self.files[f"{repository}/model.json"] = json.dumps(described).encode()

    def find(self, path: str) -> tuple[bytes | None, str]:
        """Return what lies at an address, and how the hub names the fault where nothing does."""
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found is None:
            return self.files.get(path), "EntryNotFound"
        repository, revision, name = found.groups()
        files = self.commits.get(self.main if revision == "main" else revision)
        if files is None:
            return None, "RevisionNotFound"
        return files.get(f"{repository}/{name}"), "EntryNotFound"


class Answer(BaseHTTPRequestHandler):
    """Answer with a file, or a part of it, or as the hub answers where there is none."""

    server: Hub

    def do_HEAD(self) -> None:
        """Send the headers."""
        self.answer()

    def do_GET(self) -> None:
        """Send the headers and the content, up to where the server is told to cut it."""
        content = self.answer()
        self.wfile.write(content[: self.server.cut_at])
        self.wfile.flush()
        self.server.stall.wait(10)

    def answer(self) -> bytes:
        """Send the headers and return the content."""
        self.server.requests.append(f"{self.command} {self.path}")
        content, fault = self.server.find(self.path)
        if self.server.refusal is not None or content is None:
            status, code = self.server.refusal or (404, fault)
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            content = b""
        else:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        revision = re.search("/resolve/([^/]+)/", self.path)
        commit = self.server.main if revision is None or revision[1] == "main" else revision[1]
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the hub's cache of each test to itself."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub and point ``HF_ENDPOINT`` there, although the client is imported already."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/")
    yield server
    server.stall.set()
    server.shutdown()
    server.server_close()
    thread.join()
    for download in threading.enumerate():
        if download.name == "segzoo-download":
            download.join(20)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> str:
    """Point ``HF_ENDPOINT`` to a port where nothing listens, and return the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    return address


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client retry at once, where it would wait a second each time."""
    monkeypatch.setattr("huggingface_hub.file_download.time", types.SimpleNamespace(sleep=lambda _seconds: None))
