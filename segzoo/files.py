"""Writing that survives a crash, checksums of content, a lock that a kill frees, and safe unpacking."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from segzoo.errors import DataError, RunDirectoryError

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, lzma.LZMAError, zlib.error)
"""What the standard library raises on an archive that is cut off or has changed."""

LARGEST_READ = 2**20


def write_atomic(path: Path, data: bytes | str) -> None:
    """Put ``data`` at ``path`` so that a reader sees the old content or the new, never a part.

    The temporary file lies in the same folder, so that the rename cannot become a copy; file and folder are synced
    to the disk.
    """
    content = data.encode() if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_bytes(data: bytes | bytearray | memoryview) -> str:
    """Return the hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; the kernel frees it when the process ends, however it ends.

    Raises:
        RunDirectoryError: If another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunDirectoryError(
            f"{path.parent} is in use by another segzoo process; wait for it, or choose another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def safe_unpack(archive: Path, folder: Path, *, max_bytes: int, max_members: int, max_ratio: float) -> None:
    """Unpack a tar (plain, gzip, bzip2 or xz) or zip archive, or refuse it before anything is written.

    Args:
        archive: The file; its content tells its kind, not its name.
        folder: Where the members go; it must exist.
        max_bytes: Limit on the size of all members together.
        max_members: Limit on the number of members, folders included.
        max_ratio: Limit on the size of all members over the size of the archive.

    Raises:
        DataError: If a member is neither file nor folder, would lie outside ``folder``, or breaks a limit, and if
            the archive is damaged. Damage inside a file's content shows only while it is written.
    """
    limits = _Limits(archive, max_bytes, max_members, max_ratio * archive.stat().st_size)
    try:
        with archive.open("rb") as file:
            head = file.read(6)
        if head.startswith(b"PK"):
            _unpack_zip(limits, folder)
        else:
            _unpack_tar(limits, folder, head)
    except DAMAGED as error:
        raise DataError(f"{archive} is damaged, or is neither a tar nor a zip archive: {error}") from error


@dataclass
class _Limits:
    """The sum over the members so far, against the limits."""

    archive: Path
    max_bytes: int
    max_members: int
    max_unpacked: float
    members: int = 0
    unpacked: int = 0

    def admit(self, name: str, size: int, *, plain: bool) -> None:
        """Count a member, ``plain`` if it is a file or a folder."""
        self.members += 1
        self.unpacked += size
        path, windows = PurePosixPath(name), PureWindowsPath(name)
        if not plain:
            self._refuse(name, "is a link or a device")
        if path.is_absolute() or windows.drive or windows.root:
            self._refuse(name, "has an absolute name")
        if ".." in windows.parts:
            self._refuse(name, "lies outside the folder")
        if self.members > self.max_members:
            self._refuse(name, f"is one more than the {self.max_members} allowed")
        if self.unpacked > self.max_bytes:
            self._refuse(name, f"brings the unpacked size above {self.max_bytes} bytes")
        if self.unpacked > self.max_unpacked:
            self._refuse(name, f"brings the unpacked size above {self.max_unpacked / self.archive.stat().st_size:g} times")

    def _refuse(self, name: str, reason: str) -> None:
        raise DataError(f"{self.archive}: nothing was unpacked, because the member {name!r} {reason}")


def _unpack_zip(limits: _Limits, folder: Path) -> None:
    with zipfile.ZipFile(limits.archive) as file:
        for member in file.infolist():
            # Archives written on other systems leave the kind of file zero.
            kind = stat.S_IFMT(member.external_attr >> 16)
            limits.admit(member.filename, member.file_size, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
        file.extractall(folder)


def _unpack_tar(limits: _Limits, folder: Path, head: bytes) -> None:
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
    opener = next((found for magic, found in openers.items() if head.startswith(magic)), open)
    with opener(limits.archive, "rb") as stream, tarfile.open(fileobj=_BoundedReader(stream), mode="r:") as file:
        for member in file:
            limits.admit(member.name, member.size, plain=member.isfile() or member.isdir())
        # The filter also keeps file modes harmless.
        file.extractall(folder, filter="data")


class _BoundedReader(io.BufferedReader):
    """Refuses to read much at once: the size of a tar's long names and attributes is as its author claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= LARGEST_READ:
            raise tarfile.HeaderError(f"a header claims {size} bytes")
        return super().read(size)
