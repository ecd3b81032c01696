"""Files, folders and patterns name images, and each image a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from segzoo.errors import UsageFault
from segzoo.inference.inputs import find_images, refuse_existing


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of a few files."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/b.JPG", "in/sub/c.tif", "in/notes.txt", "in/.hidden.png", "in/.git/d.png", "one.dat"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    Path("in/folder.png").mkdir()
    Path("in/gone.png").symlink_to("nowhere.png")


def names(*words: str, out: str = "out") -> dict[str, str]:
    """Return what is found, as text."""
    return {str(path): str(name) for path, name in find_images(words, beside=Path(out)).items()}


def test_a_folder_is_searched() -> None:
    """Images at any depth keep their place; text, hidden files and folders are passed over, broken links are not."""
    expected = {"in/a.png": "a", "in/b.JPG": "b", "in/gone.png": "gone", "in/sub/c.tif": "sub/c"}
    assert names("in") == expected


def test_files_and_patterns() -> None:
    """A file is taken whatever it is called; a pattern is no folder; what is named twice is there once."""
    assert names("one.dat", "in/*.png", "in/a.png") == {"one.dat": "one", "in/a.png": "a", "in/gone.png": "gone"}
    assert names("in/**/*.tif") == {"in/sub/c.tif": "c"}


def test_equal_stems_keep_their_suffix() -> None:
    """Two images that differ by their suffix alone have two masks."""
    Path("in/a.jpg").write_bytes(b"")
    found = names("in")
    assert (found["in/a.png"], found["in/a.jpg"], found["in/b.JPG"]) == ("a.png", "a.jpg", "b")


def test_equal_names_are_refused() -> None:
    """Two images of one name from two folders cannot both be written."""
    Path("other").mkdir()
    Path("other/a.png").write_bytes(b"")
    with pytest.raises(UsageFault, match=r"in/a\.png and other/a\.png would both give a\.png"):
        names("in/a.png", "other/a.png")


def test_results_are_no_images() -> None:
    """A folder of results inside the folder of images is passed over, unless it is what is named."""
    assert "in/sub/c.tif" not in names("in", out="in/sub")
    assert names("in/sub", out="in/sub") == {"in/sub/c.tif": "c"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("none", "neither a file nor a folder 'none'"),
        ("*.bmp", r"no file matches '\*\.bmp'"),
        ("in/folder.png", "no images in in/folder.png: none of its files ends in .bmp, "),
    ],
)
def test_nothing_is_told(word: str, message: str) -> None:
    """A word that names no image ends the command by name."""
    with pytest.raises(UsageFault, match=message):
        names(word)


def test_existing_files_are_refused() -> None:
    """What would be replaced is named."""
    refuse_existing([Path("new.png")])
    with pytest.raises(UsageFault, match=r"results exist; choose another --out, or pass --overwrite:\n  one\.dat"):
        refuse_existing([Path("new.png"), Path("one.dat")])
