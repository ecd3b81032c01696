"""Fetching files: the checksum decides, and a file under its final name is always whole."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from segzoo.errors import DownloadError

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
"""Together they tell of an unreachable network within 30 s, a host of several addresses included."""

CHUNK_BYTES = 2**20


def fetch(url: str, *, folder: Path, name: str, sha256: str | None = None, md5: str | None = None) -> Path:
    """Return ``folder / name``, downloaded unless a file with the right checksum is already there.

    Processes that want the same file at once wait for the first of them.

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
    """Write the file beside its final name, and rename it once its checksum is right."""
    from pooch import HTTPDownloader

    partial = path.with_name(f".{path.name}.partial")
    responses: list[Any] = []
    downloader = HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=CHUNK_BYTES,
        timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
        # Servers that label a .gz as encoded would have it unpacked on the way.
        headers={"Accept-Encoding": "identity"},
        hooks={"response": [lambda response, **_: responses.append(response), _refuse_downgrade]},
    )
    try:
        downloader(url, str(partial), None)
        found = _digest(partial, algorithm)
        if found != digest:
            raise OSError(f"its {algorithm} is {found}, but {digest} was expected")
        partial.replace(path)
    finally:
        # After an error pooch leaves the connection open.
        for response in responses:
            response.close()
        partial.unlink(missing_ok=True)


def _refuse_downgrade(response: Any, **_: Any) -> None:  # noqa: ANN401 - a type of requests, which pooch brings
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
