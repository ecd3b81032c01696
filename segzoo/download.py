"""Fetching files: the checksum decides, and a file under its final name is always whole."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from segzoo.errors import DownloadError

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
"""Together they tell of an unreachable network within 30 s, a host of several addresses included."""

CHUNK_BYTES = 2**16
"""At most so much is lost where a transfer breaks off."""


def fetch(url: str, *, folder: Path, name: str, sha256: str | None = None, md5: str | None = None) -> Path:
    """Return ``folder / name``, downloaded unless a file with the right checksum is already there.

    A download that is interrupted goes on the next time where the server can send the rest of a file. Processes that
    want the same file at once wait for the first of them.

    Args:
        url: Address, http or https; a redirect from https to http is not followed.
        folder: Where the file goes; created if missing.
        name: Name of the file in the folder.
        sha256: Hexadecimal checksum of the content.
        md5: The same, for files whose publisher gives nothing better.

    Raises:
        DownloadError: If the file cannot be fetched or has another checksum; the message has the offline way out.
        ValueError: If not exactly one checksum is given.
    """
    from filelock import FileLock

    if (sha256 is None) == (md5 is None):
        raise ValueError("exactly one of sha256 and md5 is needed")
    algorithm, digest = ("sha256", sha256) if sha256 is not None else ("md5", md5)
    path = folder / name
    try:
        if path.is_file() and _digest(path, algorithm) == digest:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):
            if not (path.is_file() and _digest(path, algorithm) == digest):
                _download(url, path, algorithm, digest)
    except OSError as error:
        raise DownloadError(
            f"cannot download {name} from {url} into {folder}: {_root_cause(error)}. "
            f"Without a network, download it elsewhere and put it at {path}"
        ) from error
    return path


def _download(url: str, path: Path, algorithm: str, digest: str | None) -> None:
    """Write the file beside its final name, and rename it once its checksum is right.

    What an interrupted download has left is continued; where that does not give the right file, it starts afresh once.
    """
    partial = path.with_name(f".{path.name}.partial")
    continued = _transfer(url, partial)
    found = _digest(partial, algorithm)
    if found != digest and continued:
        partial.unlink()
        _transfer(url, partial)
        found = _digest(partial, algorithm)
    if found != digest:
        partial.unlink()
        raise OSError(f"its {algorithm} is {found}, but {digest} was expected")
    partial.replace(path)


def _transfer(url: str, partial: Path) -> bool:
    """Fetch the rest of a partial file, or all of it, and return whether the beginning was there already."""
    import requests

    have = partial.stat().st_size if partial.is_file() else 0
    # Servers that label a .gz as encoded would have it unpacked on the way.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(
        url,
        stream=True,
        timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
        headers=headers,
        hooks={"response": _refuse_downgrade},
    ) as response:
        if have and response.status_code == requests.codes.requested_range_not_satisfiable:
            # Nothing is left to be sent, or the file has shrunk: its checksum tells.
            return True
        response.raise_for_status()
        part = response.status_code == requests.codes.partial_content
        continued = part and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if part and not continued:
            if have == 0:
                raise OSError("it sent a part where the whole was asked for")
            # What is at hand will not have the right checksum, and next time no part is asked for.
            return True
        done = have if continued else 0
        length = response.headers.get("Content-Length", "")
        with partial.open("ab" if continued else "wb") as file, _progress(partial.name, done, length) as advance:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                advance(len(chunk))
    return continued


@contextmanager
def _progress(name: str, done: int, length: str) -> Iterator[Callable[[int], None]]:
    """Show a bar of bytes on a terminal; yield what moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not sys.stderr.isatty()
    ) as bar:
        total = done + int(length) if length.isdecimal() else None
        task = bar.add_task(name.removeprefix(".").removesuffix(".partial"), total=total, completed=done)
        yield lambda count: bar.advance(task, count)


def _refuse_downgrade(response: Any, **_: Any) -> None:  # noqa: ANN401 - requests has no types
    target = urljoin(response.url, response.headers.get("location", ""))
    if response.is_redirect and response.url.startswith("https:") and not target.startswith("https:"):
        raise OSError(f"it redirects from https to {target}")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _root_cause(error: BaseException) -> BaseException:
    """Return the fault beneath the layers of the network libraries, such as "Connection refused"."""
    while error.__context__ is not None:
        error = error.__context__
    return error
