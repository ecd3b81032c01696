"""Files, folders and patterns name images, and each image a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from segzoo.errors import UsageFault
from segzoo.inference.inputs import check_targets, find_images


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


def test_names_that_look_like_others_with_their_suffix() -> None:
    """A file called like the mask of another keeps its suffix too."""
    for name in ("a.jpg", "a.jpg.png"):
        (Path("in") / name).write_bytes(b"")
    found = names("in")
    assert (found["in/a.png"], found["in/a.jpg"], found["in/a.jpg.png"]) == ("a.png", "a.jpg", "a.jpg.png")


def test_links_to_themselves() -> None:
    """Such a link is an image that cannot be read, or a folder of results that cannot be written, not an end."""
    Path("in/self.png").symlink_to("self.png")
    assert "in/self.png" in names("in")
    assert names("in/self.png", out="in/self.png/x") == {"in/self.png": "self"}
    check_targets([Path("out/self.png")], [Path("in/self.png")], exist_ok=False)


def test_equal_names_are_refused() -> None:
    """Two images of one name from two folders cannot both be written."""
    Path("other").mkdir()
    Path("other/a.png").write_bytes(b"")
    with pytest.raises(UsageFault, match=r"in/a\.png and other/a\.png would both give a\.png"):
        names("in/a.png", "other/a.png")


def test_results_are_no_images() -> None:
    """A folder of results inside the folder of images is passed over; it is not that folder itself."""
    assert "in/sub/c.tif" not in names("in", out="in/sub")
    assert names("in/sub", out="in") == {"in/sub/c.tif": "c"}
    with pytest.raises(UsageFault, match="--out in/sub is the folder of images itself"):
        names("in/sub", out="in/sub")


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


def test_what_results_would_replace_is_told() -> None:
    """Files that exist are named, unless they may go; folders and images never may."""
    check_targets([Path("new.png")], [], exist_ok=False)
    with pytest.raises(UsageFault, match=r"results exist; .* --overwrite or --skip-existing:\n  one\.dat"):
        check_targets([Path("new.png"), Path("one.dat")], [], exist_ok=False)
    check_targets([Path("one.dat")], [], exist_ok=True)
    with pytest.raises(UsageFault, match=r"in/folder\.png is a folder, where a result is to be written"):
        check_targets([Path("in/folder.png")], [], exist_ok=True)
    with pytest.raises(UsageFault, match=r"in/a\.png is one of the images"):
        check_targets([Path("in/a.png")], [Path("in/../in/a.png")], exist_ok=True)
