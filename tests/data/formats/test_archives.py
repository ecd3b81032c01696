"""Folders out of archives stand in their place whole, or not at all."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Thread

import pytest

from segzoo.data.formats import archives
from segzoo.data.formats.archives import fetch_unpacked
from segzoo.errors import DataError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return an archive with the folder ``kit/set`` of one file."""
    folder = tmp_path / "made" / "kit" / "set"
    folder.mkdir(parents=True)
    (folder / "list.txt").write_text("a b c")
    path = tmp_path / "web" / "small.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as file:
        file.add(folder.parent, "kit")
    return path


@pytest.fixture
def get(
    tmp_path: Path, archive: Path, serve: Callable[[Path], AbstractContextManager[str]]
) -> Iterator[Callable[..., Path]]:
    """Return what fetches the archive from a server and puts one of its folders at ``data/a/b``."""
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    with serve(archive.parent) as address:

        def fetch(inside: str = "kit/set") -> Path:
            root = tmp_path / "data"
            fetch_unpacked(f"{address}/small.tar.gz", digest, root=root, inside=inside, target=root / "a" / "b")
            return root

        yield fetch


def folders(root: Path) -> list[str]:
    """Return the folders in a root."""
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def test_folder_is_in_its_place(get: Callable[..., Path], archive: Path) -> None:
    """It stands where it should and nothing is left beside it; what is in place is not fetched again."""
    root = get()
    assert (root / "a/b/list.txt").read_text() == "a b c"
    assert folders(root) == ["a"]
    archive.unlink()
    (root / "small.tar.gz").unlink()
    get()


def test_leftovers_of_a_kill_are_removed(get: Callable[..., Path], tmp_path: Path) -> None:
    """What a killed process had unpacked does not get into the data."""
    stale = tmp_path / "data" / ".unpacking" / "kit" / "set"
    stale.mkdir(parents=True)
    (stale / "other.txt").write_text("half")
    root = get()
    assert [path.name for path in (root / "a/b").iterdir()] == ["list.txt"]
    assert folders(root) == ["a"]


def test_two_processes_unpack_once(get: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second waits, and finds the folder in place."""
    unpacked, unpack = [], archives.safe_unpack

    def count(archive: Path, folder: Path, **limits: float) -> None:
        unpacked.append(folder)
        unpack(archive, folder, **limits)  # type: ignore[arg-type]

    monkeypatch.setattr(archives, "safe_unpack", count)
    threads = [Thread(target=get) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(unpacked) == 1


def test_archive_of_other_content_is_told(get: Callable[..., Path], tmp_path: Path) -> None:
    """An archive without the folder leaves nothing behind but itself."""
    with pytest.raises(DataError, match=r"cannot unpack .*small\.tar\.gz into .*No such file"):
        get("kit/other")
    assert folders(tmp_path / "data") == ["a"]
    assert list((tmp_path / "data" / "a").iterdir()) == []
