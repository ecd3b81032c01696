"""Writing that survives a crash, checksums of content, a lock that a kill frees, and safe unpacking."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import secrets
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from segzoo.errors import DataError, RunDirectoryError, UsageFault

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, lzma.LZMAError, zlib.error, RuntimeError)
"""What the standard library raises on archives that are cut off or changed; the last on an encrypted zip."""

LARGEST_READ = 2**20
"""Bytes; no name or attribute of an honest tar comes near it."""


def write_atomic(path: Path, data: bytes | str) -> None:
    """Put ``data`` at ``path`` so that a reader sees the old content or the new, never a part.

    The temporary file lies in the same folder, so that the rename cannot become a copy; file and folder are synced
    to the disk.
    """
    write_pieces(path, [data.encode() if isinstance(data, str) else data])


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Do what :func:`write_atomic` does with content that lies in pieces."""
    with naming(path), replacing(path) as file:
        file.writelines(pieces)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Let the block write a file that takes the name ``path`` once it is whole, and is gone where the block fails."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what the system refuses inside the block name ``path``: a write that fails names no file by itself."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def prepare_folder(folder: Path) -> None:
    """Create a folder and make sure that files can be written in it, before what they hold is computed.

    Raises:
        UsageFault: If that is refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageFault(f"nothing can be written in the folder {folder} ({error.strerror}); choose another") from None


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
    """Unpack a zip or a tar (plain, gzip or xz), or refuse it before anything is written.

    Args:
        archive: The file; its content tells its kind, not its name.
        folder: Where the members go.
        max_bytes: Limit on the size of all members together.
        max_members: Limit on the number of members, folders included.
        max_ratio: Limit on the size of all members over the size of the archive.

    Raises:
        DataError: If a member is neither file nor folder, would lie outside ``folder``, or breaks a limit, and if
            the archive is damaged. Damage inside a file's content shows only while it is written.
    """
    limits = _Limits(archive, archive.stat().st_size, max_bytes, max_members, max_ratio)
    try:
        with archive.open("rb") as file:
            zipped = file.read(2) == b"PK"
        if zipped:
            _unpack_zip(archive, folder, limits)
        else:
            _unpack_tar(archive, folder, limits)
    except DAMAGED as error:
        raise DataError(f"{archive} is damaged, or is neither a tar nor a zip archive: {error}") from error


@dataclass
class _Limits:
    """Counts the members of an archive against the limits."""

    archive: Path
    packed: int
    max_bytes: int
    max_members: int
    max_ratio: float
    members: int = 0
    unpacked: int = 0

    def admit(self, name: str, size: int, *, plain: bool) -> None:
        """Count one member, ``plain`` if it is a file or a folder, or raise."""
        self.members += 1
        self.unpacked += size
        # Windows' rules know both kinds of slashes, and drives.
        path = PureWindowsPath(name)
        if not plain:
            raise self._refusal(name, "is neither a file nor a folder")
        if path.drive or path.root:
            raise self._refusal(name, "has an absolute name")
        if ".." in path.parts:
            raise self._refusal(name, "may lie outside the folder")
        if size < 0 or self.unpacked > self.max_bytes:
            raise self._refusal(name, f"takes the unpacked size past {self.max_bytes} bytes")
        if self.unpacked > self.max_ratio * self.packed:
            raise self._refusal(name, f"takes the unpacked size past {self.max_ratio:g} times the archive's")
        if self.members > self.max_members:
            raise self._refusal(name, f"is one more than the {self.max_members} allowed")

    def _refusal(self, name: str, reason: str) -> DataError:
        return DataError(f"{self.archive} was not unpacked: its member {name!r} {reason}")


def _unpack_zip(archive: Path, folder: Path, limits: _Limits) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            # Archives from systems without file modes leave the kind zero.
            kind = stat.S_IFMT(member.external_attr >> 16)
            limits.admit(member.filename, member.file_size, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
        file.extractall(folder)


def _unpack_tar(archive: Path, folder: Path, limits: _Limits) -> None:
    with _decompressed(archive) as stream, tarfile.open(fileobj=_BoundedReader(stream), mode="r:") as file:
        for member in file:
            plain = (member.isfile() or member.isdir()) and not member.issparse()
            limits.admit(member.name, member.size, plain=plain)
            member.mode = 0o755 if member.isdir() else 0o644
        if hasattr(tarfile, "data_filter"):
            file.extractall(folder, filter="data")  # checks paths once more
        else:  # Python before 3.11.4
            file.extractall(folder)


def _decompressed(archive: Path) -> gzip.GzipFile | lzma.LZMAFile | io.FileIO:
    with archive.open("rb") as file:
        head = file.read(5)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(archive)
    if head == b"\xfd7zXZ":
        return lzma.LZMAFile(archive)
    return io.FileIO(archive)


class _BoundedReader(io.BufferedReader):
    """Refuses to read much at once: how long a tar's names and attributes are is what its author claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes."""
        if size is None or not 0 <= size <= LARGEST_READ:
            raise tarfile.HeaderError(f"a header claims {size} bytes")
        return super().read(size)
