"""What is fetched is whole and is what was promised, or nothing is left under its name."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from segzoo import download
from segzoo.download import fetch
from segzoo.errors import DownloadError

CONTENT = b"weights" * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BREAK = download.CHUNK_BYTES + 1000
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves one content in good ways and bad.

    ``/ranges`` and ``/breaks`` can be continued, and the latter ends early where all is asked for; ``/other-part``
    sends another part than it is asked for, ``/stray`` a part where all is asked for, ``/unsized`` a length that is no
    number.
    """

    def do_GET(self) -> None:
        """Answer by path."""
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
        elif self.path == "/slow":
            time.sleep(2)
        elif self.path in ("/ranges", "/breaks") and first >= len(CONTENT):
            self.send_error(416)
        elif self.path in ("/ranges", "/breaks") and first:
            self.server.paths.append(first)  # type: ignore[attr-defined]
            self.send_part(first)
        elif self.path == "/stray" or (self.path == "/other-part" and first):
            self.send_part(first + 5)
        elif self.path in ("/good", "/truncated", "/ranges", "/breaks", "/other-part", "/unsized"):
            self.send_response(200)
            self.send_header("Content-Length", "many" if self.path == "/unsized" else str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: {"/truncated": 1000, "/breaks": BREAK}.get(self.path)])
        else:
            self.send_error(404)

    def send_part(self, first: int) -> None:
        """Send the content from a byte on."""
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        self.wfile.write(CONTENT[first:])

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server on the loopback address that remembers the paths it was asked for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.paths = []  # type: ignore[attr-defined]
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def address(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's address, reached without a proxy."""
    monkeypatch.setenv("NO_PROXY", "*")
    return f"http://127.0.0.1:{server.server_port}"


def visible(folder: Path) -> list[str]:
    """Return the files in a folder, the lock apart."""
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


def test_file_is_fetched(address: str, tmp_path: Path) -> None:
    """The content lands under the name in a folder made for it, and nothing else does."""
    folder = tmp_path / "a" / "b"
    assert fetch(f"{address}/good", folder=folder, name="x.tar", sha256=SHA256) == folder / "x.tar"
    assert (folder / "x.tar").read_bytes() == CONTENT
    assert visible(folder) == ["x.tar"]


def test_file_that_is_there_is_not_fetched(server: ThreadingHTTPServer, address: str, tmp_path: Path) -> None:
    """A file with the right checksum is used without a request, also by its MD5."""
    (tmp_path / "x.tar").write_bytes(CONTENT)
    fetch(f"{address}/good", folder=tmp_path, name="x.tar", md5=MD5)
    assert server.paths == []  # type: ignore[attr-defined]


def test_file_with_other_content_is_replaced(address: str, tmp_path: Path) -> None:
    """A file of the same name with another checksum does not pass for the real one."""
    (tmp_path / "x.tar").write_bytes(CONTENT[:100])
    fetch(f"{address}/good", folder=tmp_path, name="x.tar", sha256=SHA256)
    assert (tmp_path / "x.tar").read_bytes() == CONTENT


def test_second_of_two_waits_for_the_first(server: ThreadingHTTPServer, address: str, tmp_path: Path) -> None:
    """Ranks of one run may want a file at once: one request serves them all."""
    wanted = {"folder": tmp_path, "name": "x.tar", "sha256": SHA256}
    threads = [Thread(target=fetch, args=(f"{address}/good",), kwargs=wanted) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.paths == ["/good"]  # type: ignore[attr-defined]
    assert (tmp_path / "x.tar").read_bytes() == CONTENT


def test_leftover_of_a_killed_download_does_not_matter(address: str, tmp_path: Path) -> None:
    """Where a server sends all, whatever part is asked for, a partial file is written anew and gone at the end."""
    (tmp_path / ".x.tar.partial").write_bytes(CONTENT * 2)
    fetch(f"{address}/good", folder=tmp_path, name="x.tar", sha256=SHA256)
    assert visible(tmp_path) == ["x.tar"]
    assert (tmp_path / "x.tar").read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["/moved", "/unsized"])
def test_servers_differ(address: str, tmp_path: Path, path: str) -> None:
    """A redirect is followed, and nothing depends on the length that a server announces."""
    fetch(address + path, folder=tmp_path, name="x.tar", sha256=SHA256)
    assert (tmp_path / "x.tar").read_bytes() == CONTENT


def test_second_try_continues_the_first(server: ThreadingHTTPServer, address: str, tmp_path: Path) -> None:
    """A transfer that breaks off is told and leaves its part; the next call asks for the rest alone."""
    wanted = {"folder": tmp_path, "name": "x.tar", "sha256": SHA256}
    with pytest.raises(DownloadError, match=f"{BREAK} bytes read"):
        fetch(f"{address}/breaks", **wanted)
    assert visible(tmp_path) == [".x.tar.partial"]
    assert fetch(f"{address}/breaks", **wanted).read_bytes() == CONTENT
    assert server.paths == ["/breaks", "/breaks", download.CHUNK_BYTES]  # type: ignore[attr-defined]


def test_another_part_than_asked_for(server: ThreadingHTTPServer, address: str, tmp_path: Path) -> None:
    """A server that answers with another part is asked for all; one that sends a part of all is told."""
    (tmp_path / ".x.tar.partial").write_bytes(CONTENT[:1000])
    fetch(f"{address}/other-part", folder=tmp_path, name="x.tar", sha256=SHA256)
    assert (tmp_path / "x.tar").read_bytes() == CONTENT
    assert server.paths == ["/other-part"] * 2  # type: ignore[attr-defined]
    with pytest.raises(DownloadError, match="it sent a part where the whole was asked for"):
        fetch(f"{address}/stray", folder=tmp_path, name="y.tar", sha256=SHA256)


@pytest.mark.parametrize("have", [1, 30_000, len(CONTENT) - 1])
def test_interrupted_download_goes_on(server: ThreadingHTTPServer, address: str, tmp_path: Path, have: int) -> None:
    """Only what is missing is asked for, and the file is whole."""
    (tmp_path / ".x.tar.partial").write_bytes(CONTENT[:have])

    fetch(f"{address}/ranges", folder=tmp_path, name="x.tar", sha256=SHA256)

    assert (tmp_path / "x.tar").read_bytes() == CONTENT
    assert server.paths == ["/ranges", have]  # type: ignore[attr-defined]
    assert visible(tmp_path) == ["x.tar"]


def test_part_that_is_whole_needs_no_more(server: ThreadingHTTPServer, address: str, tmp_path: Path) -> None:
    """A download that was killed between its last byte and its renaming is not repeated."""
    (tmp_path / ".x.tar.partial").write_bytes(CONTENT)

    fetch(f"{address}/ranges", folder=tmp_path, name="x.tar", sha256=SHA256)

    assert (tmp_path / "x.tar").read_bytes() == CONTENT
    assert server.paths == ["/ranges"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("beginning", [b"x" * 1000, CONTENT + b"x"])
def test_part_of_another_file_is_given_up(address: str, tmp_path: Path, beginning: bytes) -> None:
    """Where the published file has changed since, the download starts afresh instead of failing for ever."""
    (tmp_path / ".x.tar.partial").write_bytes(beginning)

    fetch(f"{address}/ranges", folder=tmp_path, name="x.tar", sha256=SHA256)

    assert (tmp_path / "x.tar").read_bytes() == CONTENT
    assert visible(tmp_path) == ["x.tar"]


@pytest.mark.parametrize(
    ("path", "reason", "left"),
    [
        ("/good", f"its sha256 is {SHA256}, but {'0' * 64} was expected", []),
        ("/absent", "404", []),
        ("/truncated", "1000 bytes read", [".x.tar.partial"]),
    ],
)
def test_failure_names_everything(address: str, tmp_path: Path, path: str, reason: str, left: list[str]) -> None:
    """Wrong content, an error of the server and a broken transfer end in one message; at most the part is left."""
    with pytest.raises(DownloadError) as caught:
        fetch(address + path, folder=tmp_path, name="x.tar", sha256="0" * 64)
    message = str(caught.value)
    assert message.startswith(f"cannot download x.tar from {address}{path} into {tmp_path}: ")
    assert reason in message
    assert message.endswith(f"Without a network, download it elsewhere and put it at {tmp_path / 'x.tar'}")
    assert visible(tmp_path) == left


def test_refused_connection_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no server listens there is no long retrying."""
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(DownloadError, match="Connection refused"):
        fetch(f"http://127.0.0.1:{port}/x", folder=tmp_path, name="x.tar", sha256=SHA256)
    assert time.monotonic() - start < 60


def test_silent_server_is_given_up(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the request and never answers costs the read timeout, which leaves 30 s enough."""
    assert download.CONNECT_TIMEOUT_S + download.READ_TIMEOUT_S < 30
    monkeypatch.setattr(download, "READ_TIMEOUT_S", 0.2)
    with pytest.raises(DownloadError, match="timed out"):
        fetch(f"{address}/slow", folder=tmp_path, name="x.tar", sha256=SHA256)


@pytest.mark.parametrize(("location", "refused"), [("http://a/y", True), ("//b/y", False), ("/y", False)])
def test_https_is_not_left(location: str, refused: bool) -> None:
    """A redirect from https to http is refused; one that stays with https is not."""
    response = SimpleNamespace(url="https://a/x", is_redirect=True, headers={"location": location})
    if refused:
        with pytest.raises(OSError, match="redirects from https to http://a/y"):
            download._refuse_downgrade(response)
    else:
        download._refuse_downgrade(response)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "nowhere"])
def test_other_schemes_are_refused(tmp_path: Path, url: str) -> None:
    """Only http and https are spoken."""
    with pytest.raises(DownloadError, match="cannot download"):
        fetch(url, folder=tmp_path, name="x.tar", sha256=SHA256)


@pytest.mark.parametrize("checksums", [{}, {"sha256": SHA256, "md5": MD5}])
def test_one_checksum_is_needed(tmp_path: Path, checksums: dict[str, str]) -> None:
    """Nothing is fetched without a promise of what it is."""
    with pytest.raises(ValueError, match="exactly one of sha256 and md5"):
        fetch("https://a/x", folder=tmp_path, name="x.tar", **checksums)


def test_unusable_folder_is_told(address: str, tmp_path: Path) -> None:
    """A folder that cannot be made ends in the same message."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"Not a directory|File exists"):
        fetch(f"{address}/good", folder=tmp_path / "file", name="x.tar", sha256=SHA256)
