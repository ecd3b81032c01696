"""Files survive crashes, locks are freed by a kill, and archives cannot write where they should not."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from segzoo.errors import DataError, RunDirectoryError
from segzoo.files import exclusive_lock, naming, replacing, safe_unpack, sha256_bytes, sha256_file, write_atomic

HOLD = """
import sys, time
from pathlib import Path
from segzoo.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def unpack(archive: Path, folder: Path, *, max_bytes: int = 2**20, max_members: int = 10, ratio: float = 100) -> None:
    """Unpack with limits that honest test archives keep."""
    safe_unpack(archive, folder, max_bytes=max_bytes, max_members=max_members, max_ratio=ratio)


def make_tar(path: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    """Write a tar whose files are full of zeros."""
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for member in members:
            file.addfile(member, io.BytesIO(bytes(member.size)) if member.isfile() else None)
    return path


def member(name: str, *, size: int = 4, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """Return the header of a tar's member."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = size if kind == tarfile.REGTYPE else 0
    return info


def contents(folder: Path) -> set[str]:
    """Return the files beneath a folder, as relative names."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    """Bytes and text land under the name, over what was there, with no temporary file beside them."""
    path = tmp_path / "state"
    write_atomic(path, b"old")
    write_atomic(path, "näw")
    assert path.read_bytes() == "näw".encode()
    assert contents(tmp_path) == {"state"}


def test_a_file_that_is_written_in_parts_appears_whole(tmp_path: Path) -> None:
    """Until the block ends the old content stands, and where it fails it stays, with nothing beside it."""
    path = tmp_path / "state"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.seek(0)
        assert file.read() == b"new"
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_bytes() == b"new"
    assert contents(tmp_path) == {"state"}


def test_write_atomic_keeps_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk refuses, the old content stays and the temporary file goes."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "state"
    write_atomic(path, b"old")
    monkeypatch.setattr("segzoo.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert contents(tmp_path) == {"state"}


def test_a_write_that_fails_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the temporary file nor nothing at all is named, as the system does, and the kind of error stays."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(tmp_path / "new", b"x")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "new"))
    with pytest.raises(FileNotFoundError) as missing:
        write_atomic(tmp_path / "nowhere" / "new", b"x")
    assert missing.value.filename == str(tmp_path / "nowhere" / "new")


def test_errors_that_are_not_the_systems_stay_as_they_are(tmp_path: Path) -> None:
    """An OSError of a library, with a text alone, keeps it."""
    with pytest.raises(OSError, match=r"^its checksum differs$"), naming(tmp_path):
        raise OSError("its checksum differs")


def test_checksums_agree(tmp_path: Path) -> None:
    """A file and its bytes have the checksum that hashlib gives."""
    path = tmp_path / "file"
    path.write_bytes(b"content" * 1000)
    assert sha256_file(path) == sha256_bytes(path.read_bytes()) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    """One process holds the lock; SIGKILL frees it at once."""
    lock = tmp_path / "run" / "lock"
    lock.parent.mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunDirectoryError, match="is in use by another segzoo process"), exclusive_lock(lock):
            pass
        holder.kill()
    with exclusive_lock(lock):
        pass


def test_lock_is_freed_after_an_error(tmp_path: Path) -> None:
    """What fails under the lock leaves it free."""
    with pytest.raises(ValueError, match="inside"), exclusive_lock(tmp_path / "lock"):
        raise ValueError("inside")
    with exclusive_lock(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar_is_unpacked(tmp_path: Path, mode: str) -> None:
    """An honest tar comes out whole, whatever its compression, and no file in it becomes executable for root."""
    special = member("a/special")
    special.mode = 0o4755
    archive = make_tar(
        tmp_path / "x", member("a", kind=tarfile.DIRTYPE), member("a/b.png"), member("./c"), special, mode=mode
    )
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"a/b.png", "c", "a/special"}
    assert (tmp_path / "out" / "a" / "special").stat().st_mode & 0o7000 == 0


def test_zip_is_unpacked(tmp_path: Path) -> None:
    """An honest zip comes out whole."""
    with zipfile.ZipFile(tmp_path / "x", "w") as file:
        file.writestr("a/b.txt", "text")
        file.writestr("empty/", "")
    unpack(tmp_path / "x", tmp_path / "out")
    assert (tmp_path / "out" / "a" / "b.txt").read_text() == "text"
    assert (tmp_path / "out" / "empty").is_dir()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (member("/etc/evil"), "has an absolute name"),
        (member("C:\\evil"), "has an absolute name"),
        (member("../evil"), "may lie outside"),
        (member("a/../../evil"), "may lie outside"),
        (member("a\\..\\..\\evil"), "may lie outside"),
        (member("evil", kind=tarfile.SYMTYPE, target="/etc/passwd"), "is neither a file nor a folder"),
        (member("evil", kind=tarfile.LNKTYPE, target="good"), "is neither a file nor a folder"),
        (member("evil", kind=tarfile.CHRTYPE), "is neither a file nor a folder"),
        (member("evil", kind=tarfile.FIFOTYPE), "is neither a file nor a folder"),
        (member("evil", size=2**20), "takes the unpacked size past 1048576 bytes"),
    ],
)
def test_evil_tar_is_refused_before_anything_is_written(tmp_path: Path, bad: tarfile.TarInfo, reason: str) -> None:
    """The message names the member, and not even the honest member before it is written."""
    archive = make_tar(tmp_path / "x.tar", member("good"), bad)
    with pytest.raises(DataError, match=f"its member {bad.name!r} ".replace("\\", r"\\")) as caught:
        unpack(archive, tmp_path / "out")
    assert reason in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_too_many_members_are_refused(tmp_path: Path, kind: str) -> None:
    """The count includes folders, and the first member too many is named."""
    names, archive = [f"d{number}" for number in range(11)], tmp_path / "x.tar"
    if kind == "tar":
        make_tar(archive, *(member(name, kind=tarfile.DIRTYPE) for name in names))
    else:
        with zipfile.ZipFile(archive, "w") as file:
            for name in names:
                file.writestr(name, "")
    with pytest.raises(DataError, match="'d10' is one more than the 10 allowed"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_bomb_is_refused(tmp_path: Path, kind: str) -> None:
    """A megabyte of zeros in a kilobyte breaks the ratio."""
    archive = tmp_path / "x"
    if kind == "tar":
        make_tar(archive, member("zeros", size=2**20), mode="w:gz")
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("zeros", bytes(2**20))
    with pytest.raises(DataError, match="'zeros' takes the unpacked size past 100 times the archive's"):
        unpack(archive, tmp_path / "out", max_bytes=2**30)
    assert not (tmp_path / "out").exists()


def test_tar_header_cannot_fill_the_memory(tmp_path: Path) -> None:
    """A header that claims attributes of a gigabyte is refused before they are read."""
    header = member("x")
    header.type, header.size = tarfile.XHDTYPE, 2**30
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(gzip.compress(header.tobuf() + bytes(2**21)))
    with pytest.raises(DataError, match="a header claims 1073741824 bytes"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "mode", "content", "reason"),
    [
        ("/evil", 0, "", "has an absolute name"),
        ("C:\\evil", 0, "", "has an absolute name"),
        ("../evil", 0, "", "may lie outside"),
        ("a/../../evil", 0, "", "may lie outside"),
        ("a\\..\\..\\evil", 0, "", "may lie outside"),
        ("evil", stat.S_IFLNK, "/etc/passwd", "is neither a file nor a folder"),
        ("evil", stat.S_IFCHR, "", "is neither a file nor a folder"),
        ("evil", stat.S_IFIFO, "", "is neither a file nor a folder"),
        ("evil", stat.S_IFREG, "x" * 2**20, "takes the unpacked size past 1048576 bytes"),
    ],
)
def test_evil_zip_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, mode: int, content: str, reason: str
) -> None:
    """Names, kinds and sizes in a zip are held to the same rules; kinds are file modes there."""
    evil = zipfile.ZipInfo(name)
    evil.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("good", "text")
        file.writestr(evil, content)
    with pytest.raises(DataError, match=reason):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_zip_that_lies_of_its_size_writes_no_more(tmp_path: Path) -> None:
    """Of a file that is larger than its entry says no more is written, and the archive is refused."""
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(2**20))
    archive.write_bytes(archive.read_bytes().replace(struct.pack("<L", 2**20), struct.pack("<L", 10)))
    with pytest.raises(DataError, match=r"x\.zip is damaged"):
        unpack(archive, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 10


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_truncated_tar_is_refused(tmp_path: Path, mode: str) -> None:
    """Half of an archive is told apart from a whole one."""
    archive = make_tar(tmp_path / "x", member("a", size=60_000), member("b", size=60_000), mode=mode)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError, match="is damaged"):
        unpack(archive, tmp_path / "out", ratio=10_000)


@pytest.mark.parametrize("content", [b"", b"PK", b"hello" * 300, b"\x1f\x8bnot gzip at all"])
def test_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file of another kind is refused by name."""
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar is damaged, or is neither a tar nor a zip archive"):
        unpack(tmp_path / "x.tar", tmp_path / "out")
