"""Data that is fetched: archives, unpacked whole or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

from segzoo.download import fetch
from segzoo.errors import DataError
from segzoo.files import safe_unpack


def fetch_unpacked(url: str, md5: str, *, root: Path, inside: str, target: Path) -> None:
    """Fetch an archive and put one of its folders in its place.

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
    archive = fetch(url, folder=root, name=url.rsplit("/", 1)[1], md5=md5)
    try:
        # Unpacked beside its place and renamed, so that what stands there is whole.
        with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as temporary:
            safe_unpack(archive, Path(temporary), max_bytes=4 * 2**30, max_members=100_000, max_ratio=100)
            target.parent.mkdir(parents=True, exist_ok=True)
            (Path(temporary) / inside).replace(target)
    except OSError as error:
        raise DataError(f"cannot unpack {archive} into {target}: {error}") from error
