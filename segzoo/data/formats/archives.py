"""Data that is fetched: archives, unpacked whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from segzoo.download import fetch
from segzoo.errors import DataError
from segzoo.files import safe_unpack


def fetch_unpacked(url: str, md5: str, *, root: Path, inside: str, target: Path) -> None:
    """Fetch an archive and put one of its folders in its place, unless that place is taken.

    Processes that want the same folder at once wait for the first of them.

    Args:
        url: The archive.
        md5: Its published checksum.
        root: Where the archive goes.
        inside: The folder in the archive.
        target: What that folder becomes; it appears at once and whole.

    Raises:
        DownloadError: If the archive could not be fetched.
        DataError: If it cannot be unpacked.
    """
    from filelock import FileLock

    if target.exists():
        return
    archive = fetch(url, folder=root, name=url.rsplit("/", 1)[1], md5=md5)
    try:
        with FileLock(root / ".unpacking.lock"):
            if not target.exists():
                _unpack(archive, root / ".unpacking", inside=inside, target=target)
    except OSError as error:
        raise DataError(f"cannot unpack {archive} into {target}: {error}") from error


def _unpack(archive: Path, beside: Path, *, inside: str, target: Path) -> None:
    """Unpack beside the target and rename, so that what stands there is whole."""
    if beside.exists():
        shutil.rmtree(beside)  # left behind by a process that was killed
    try:
        safe_unpack(archive, beside, max_bytes=4 * 2**30, max_members=100_000, max_ratio=100)
        target.parent.mkdir(parents=True, exist_ok=True)
        (beside / inside).replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
