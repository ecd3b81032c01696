"""What cannot be used in a data folder is refused by its name: no traceback, no hang."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from segzoo.data.findings import printable
from segzoo.data.opening import list_source, open_source
from segzoo.data.scan import scan
from segzoo.data.source import Pixels
from segzoo.errors import DataError
from tests.data.malformed import (
    CLASSES,
    HEIGHT,
    JPEG,
    PNG,
    WIDTH,
    Tree,
    bad_crc,
    comment_bomb,
    encode,
    frames,
    huge_png,
    labels,
    palette_mask,
    picture,
    rotated,
    save,
    tiff,
)


def link(path: Path, target: Path, partner: Path, pixels: Pixels) -> Path:
    """Make a link, and a partner for it."""
    path.symlink_to(target)
    save(pixels, partner)
    return path


def folder_named(path: Path, partner: Path, pixels: Pixels) -> Path:
    """Make a folder with an image's name, and a partner for it."""
    path.mkdir()
    save(pixels, partner)
    return path


def listening(path: Path, partner: Path, pixels: Pixels) -> Path:
    """Make a socket with an image's name, and a partner for it."""
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)
    save(pixels, partner)
    return path


def alone(path: Path, pixels: Pixels) -> Path:
    """Write a file that has no partner."""
    save(pixels, path)
    return path


def twice(tree: Tree) -> Path:
    """Add an image with two suffixes."""
    (tree.images / "bad.jpg").write_bytes(encode(picture(8), "JPEG"))
    return tree.put()


def jpeg_mask(tree: Tree) -> Path:
    """Add a mask that was saved as a JPEG."""
    save(picture(9), tree.images / "bad.png")
    (tree.masks / "bad.jpg").write_bytes(encode(labels(9), "JPEG"))
    return tree.masks / "bad.jpg"


def rotated_alone(tree: Tree) -> Path:
    """Add an image that EXIF turns, with a mask as the image's pixels lie in the file."""
    tree.put(rotated(picture(9)), labels(9))
    return tree.masks / "bad.png"


def outside() -> Pixels:
    """Return labels of which one is 254."""
    mask = labels(9)
    mask[3, 4] = 254
    return mask


REFUSED: dict[str, tuple[str, Callable[[Tree], Path]]] = {
    "truncated JPEG": ("unreadable", lambda tree: tree.put(JPEG[:-100])),
    "truncated PNG": ("unreadable", lambda tree: tree.put(PNG[:-100])),
    "truncated mask": ("unreadable", lambda tree: tree.put(mask=encode(labels(9), "PNG")[:-40])),
    "truncated BMP": ("unreadable", lambda tree: tree.put(encode(picture(9), "BMP")[:-500])),
    "truncated WEBP": ("unreadable", lambda tree: tree.put(encode(picture(9), "WEBP")[:-200])),
    "truncated TIFF": ("unreadable", lambda tree: tree.put(encode(picture(9), "TIFF")[:400])),
    "zero-byte image": ("unreadable", lambda tree: tree.put(b"")),
    "zero-byte mask": ("unreadable", lambda tree: tree.put(mask=b"")),
    "file of zeros": ("unreadable", lambda tree: tree.put(bytes(5000))),
    "folder named .png": (
        "unreadable",
        lambda tree: folder_named(tree.images / "bad.png", tree.masks / "bad.png", labels(9)),
    ),
    "mask folder named .png": (
        "unreadable",
        lambda tree: folder_named(tree.masks / "bad.png", tree.images / "bad.png", picture(9)),
    ),
    "animated GIF": ("unsupported", lambda tree: tree.put(frames("GIF"))),
    "animated PNG": ("unsupported", lambda tree: tree.put(frames("PNG"))),
    "multi-page TIFF": ("unsupported", lambda tree: tree.put(frames("TIFF"))),
    "float TIFF": ("unsupported", lambda tree: tree.put(tiff(np.ones((HEIGHT, WIDTH), np.float32)))),
    "float mask": ("colour_mask", lambda tree: tree.put(mask=tiff(np.ones((HEIGHT, WIDTH), np.float32)))),
    "TIFF of five bands": (
        "unsupported",
        lambda tree: tree.put(tiff(np.ones((HEIGHT, WIDTH, 5), np.uint8), photometric="minisblack")),
    ),
    "mask of another size": ("size_mismatch", lambda tree: tree.put(mask=labels(9, 12, 16))),
    "mask on its side": ("size_mismatch", lambda tree: tree.put(mask=labels(9, WIDTH, HEIGHT))),
    "EXIF-rotated image, mask not": ("size_mismatch", rotated_alone),
    "label 254": ("label_outside_classes", lambda tree: tree.put(mask=outside())),
    "16-bit mask of large values": (
        "label_outside_classes",
        lambda tree: tree.put(mask=encode(Image.fromarray(labels(9).astype(np.uint16) * 900), "PNG")),
    ),
    "palette mask of a high index": ("label_outside_classes", lambda tree: tree.put(mask=palette_mask(outside()))),
    "RGB mask": ("colour_mask", lambda tree: tree.put(mask=picture(9))),
    "RGBA mask": ("colour_mask", lambda tree: tree.put(mask=np.dstack([picture(9), labels(9)]))),
    "JPEG mask": ("unsupported", jpeg_mask),
    "header of ten gigapixels": ("too_large", lambda tree: tree.put(huge_png())),
    "mask header of ten gigapixels": ("too_large", lambda tree: tree.put(mask=huge_png())),
    "PNG of a wrong checksum": ("unreadable", lambda tree: tree.put(bad_crc())),
    "text named .png": ("unreadable", lambda tree: tree.put(b"see the readme\n")),
    "HTML error page": ("unreadable", lambda tree: tree.put(b"<!DOCTYPE html><html><title>404</title></html>")),
    "SVG named .png": ("unreadable", lambda tree: tree.put(b'<svg xmlns="http://www.w3.org/2000/svg"/>')),
    "PostScript named .png": (
        "unreadable",
        lambda tree: tree.put(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ),
    "array named .png": ("unreadable", lambda tree: tree.put(b"\x93NUMPY\x01\x00" + bytes(200))),
    "link to itself": (
        "unreadable",
        lambda tree: link(tree.images / "bad.png", tree.images / "bad.png", tree.masks / "bad.png", labels(9)),
    ),
    "broken link": (
        "unreadable",
        lambda tree: link(tree.masks / "bad.png", tree.root / "nowhere.png", tree.images / "bad.png", picture(9)),
    ),
    "loop of folders": (
        "unreadable",
        lambda tree: link(tree.images / "loop", tree.images, tree.images / "good0.png", picture(0)),
    ),
    "device": (
        "unreadable",
        lambda tree: link(tree.images / "bad.png", Path("/dev/zero"), tree.masks / "bad.png", labels(9)),
    ),
    "comment that unpacks to 100 MB": ("unreadable", lambda tree: tree.put(comment_bomb())),
    "HTML error page with a byte order mark": ("unreadable", lambda tree: tree.put(b"\xef\xbb\xbf<html></html>")),
    "PNG after a byte order mark": ("unreadable", lambda tree: tree.put(b"\xef\xbb\xbf" + PNG)),
    "socket": ("unreadable", lambda tree: listening(tree.images / "bad.png", tree.masks / "bad.png", labels(9))),
    "two suffixes": ("repeated_name", twice),
    "image alone": ("missing_mask", lambda tree: alone(tree.images / "bad.png", picture(9))),
    "mask alone": ("missing_image", lambda tree: alone(tree.masks / "bad.png", labels(9))),
    "damaged, with a line break in its name": ("unreadable", lambda tree: tree.put(b"x", name="two\nlines")),
    "damaged, with a name that is no UTF-8": (
        "unreadable",
        lambda tree: tree.put(b"x", name=os.fsdecode(b"\xe9t\xe9")),
    ),
    "damaged, with unicode and spaces in its name": ("unreadable", lambda tree: tree.put(b"x", name="ein Bär 🐻")),
    "damaged, with a very long name": ("unreadable", lambda tree: tree.put(b"x", name="n" * 250)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_found_by_name(tree: Tree, check: Callable[..., Result], case: str) -> None:
    """The check finds this fault and nothing else, exit code 1; finetune's scan refuses the data, exit code 2."""
    kind, plant = REFUSED[case]
    culprit = plant(tree)
    result = check("--json")
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.stderr
    document = json.loads(result.stdout)
    found = [(row["kind"], row["file"], row["split"]) for row in document["rows"]]
    assert found == [(kind, str(culprit).encode("utf-8", "backslashreplace").decode(), "train")]
    assert result.stderr == "error: 1 finding in 1 file\n"
    with pytest.raises(DataError) as caught:
        scan(open_source(tree.section, seed=0), ["train", "val"], num_classes=len(CLASSES))
    assert caught.value.exit_code == 2
    (line,) = [line for line in str(caught.value).splitlines() if printable(str(culprit)) in line]
    assert line.split(": ", 1)[1].isprintable()


@pytest.mark.parametrize("half", ["images", pytest.param("masks", marks=pytest.mark.slow)])
def test_pipe_is_not_waited_for(tree: Tree, half: str) -> None:
    """A named pipe among the files is refused like any other file, where opening it would wait for ever."""
    tree.put()
    pipe = tree.root / "train" / half / "bad.png"
    pipe.unlink()
    os.mkfifo(pipe)
    done = subprocess.run(
        [sys.executable, "-m", "segzoo", "data", "check", tree.recipe(), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["kind"], row["file"], row["message"]) == ("unreadable", str(pipe), "it is not a regular file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_told(tree: Tree, check: Callable[..., Result]) -> None:
    """A file that may not be read is a finding like any other."""
    locked = tree.put()
    locked.chmod(0)
    (row,) = json.loads(check("--json").stdout)["rows"]
    assert (row["kind"], row["file"], row["message"]) == ("unreadable", str(locked), "Permission denied")


def test_folder_that_may_be_listed_but_not_entered_is_told(
    tree: Tree, check: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file in it, and each folder, is a finding; the other splits are checked all the same."""
    (tree.masks / "more").mkdir()
    stat = Path.stat

    def deny(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.parent == tree.masks:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", deny)
    document = json.loads(check("--json").stdout)
    found = {(row["kind"], row["file"], row["message"]) for row in document["rows"]}
    assert found == {("unreadable", str(tree.masks / f"good{n}.png"), "Permission denied") for n in (0, 1)}
    assert document["summary"]["splits"]["val"]["samples"] == 2


def test_names_that_differ_only_in_case_are_two_samples(tree: Tree, check: Callable[..., Result]) -> None:
    """Where the file system tells a.png from A.png, so does the check: each image has its own mask."""
    tree.put(picture(7), labels(7), name="bad")
    tree.put(picture(8), labels(8), name="BAD")
    if len(list(tree.images.iterdir())) < 4:
        pytest.skip("the file system does not tell them apart")
    assert check().exit_code == 0
    source, _ = list_source(tree.section, seed=0)
    masks = {sample.name: source.read(sample)[1] for sample in source.splits["train"]}
    np.testing.assert_array_equal(masks["bad"], labels(7))
    np.testing.assert_array_equal(masks["BAD"], labels(8))


@pytest.mark.parametrize(
    ("image", "mask", "kind"),
    [(picture(9, 1, 1), labels(9, 1, 1), "blank_image"), (None, labels(9) % 2 * 255, "binary_mask")],
    ids=["one pixel", "mask of 0 and 255"],
)
def test_what_could_be_trained_on_is_told_too(
    tree: Tree, check: Callable[..., Result], image: Pixels | None, mask: Pixels, kind: str
) -> None:
    """An image of one pixel, and a mask of 0 and 255 where 255 is the ignored label, are found by the check alone."""
    culprit = tree.put(image, mask)
    (row,) = json.loads(check("--json").stdout)["rows"]
    assert (row["kind"], row["file"]) == (kind, str(culprit))
    scan(open_source(tree.section, seed=0), ["train", "val"], num_classes=len(CLASSES))


def test_json_is_utf8_where_names_are_not(tree: Tree) -> None:
    """The names in messages are escaped as those of the files at fault are: what is printed can be decoded."""
    for name in (b"\xe9", b"\xea"):
        tree.put(picture(7), name=os.fsdecode(name))
    command = [sys.executable, "-m", "segzoo", "data", "check", str(tree.recipe())]
    for options in ((), ("--json",)):
        done = subprocess.run([*command, *options], capture_output=True, timeout=120, check=False)
        assert done.returncode == 1, done.stderr
        printed = done.stdout.decode("utf-8", "strict")
    (row,) = json.loads(printed)["rows"]
    assert row["file"] == str(tree.images / "\\udcea.png")
    assert row["message"] == f"the same picture as {tree.images / chr(92)}udce9.png"


def test_mask_of_webp_colours_is_refused(tree: Tree, check: Callable[..., Result]) -> None:
    """Lossless WEBP keeps values but has no grey: its masks are colours, which mask_mode 'rgb' reads."""
    tree.put(mask=encode(labels(9), "WEBP", lossless=True))
    (row,) = json.loads(check("--json").stdout)["rows"]
    assert row["kind"] == "colour_mask"
    assert "mask_mode 'rgb'" in row["message"]


@pytest.mark.parametrize("damage", ["empty", "no masks", "no split", "a file", "nothing"])
def test_data_that_is_not_there_is_told(tree: Tree, check: Callable[..., Result], damage: str) -> None:
    """Where there is nothing to check, one line says what is missing and the exit code is 2."""
    val = tree.root / "val"
    for path in sorted(val.rglob("*.png")):
        path.unlink()
    expected = "no samples in split 'val'"
    if damage != "empty":
        (val / "masks").rmdir()
        expected = f"{val / 'masks'} missing"
    if damage == "no split":
        (val / "images").rmdir()
        val.rmdir()
        expected = f"{val / 'images'} and {val / 'masks'} missing"
    if damage in ("a file", "nothing"):
        tree.root.rename(tree.root.parent / "moved")
        expected = f"the data folder {tree.root} is missing"
    if damage == "a file":
        tree.root.write_bytes(b"x")
    result = check()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert expected in result.stderr
    assert result.stderr.startswith("error: ")


def test_every_fault_at_once_is_listed(tree: Tree, check: Callable[..., Result]) -> None:
    """No fault hides another: 25 damaged files are 25 rows, each by its name, and the summary counts them."""
    names = {str(tree.put(b"x", name=f"bad{number}")) for number in range(25)}
    document = json.loads(check("--json").stdout)
    assert {row["file"] for row in document["rows"]} == names
    assert document["summary"]["findings"] == {"unreadable": 25}
