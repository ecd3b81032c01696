"""Whatever lies in a data folder is read as it should be, or refused by its name: no traceback, no hang."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner, Result

from segzoo.cli import app
from segzoo.data.findings import printable
from segzoo.data.opening import list_source, open_source
from segzoo.data.scan import scan
from segzoo.data.source import Pixels
from segzoo.errors import DataError
from segzoo.recipe.data import ClassEntry, FolderData

HEIGHT, WIDTH = 24, 32
CLASSES = ("a", "b", "c")


class Tree:
    """A data set of three classes with two good pairs a split; cases add to ``train``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images, self.masks = root / "train" / "images", root / "train" / "masks"
        for number, split in enumerate(("train", "train", "val", "val")):
            for kind in ("images", "masks"):
                (root / split / kind).mkdir(parents=True, exist_ok=True)
            save(picture(number), root / split / "images" / f"good{number}.png")
            save(labels(number), root / split / "masks" / f"good{number}.png")

    @property
    def section(self) -> FolderData:
        """The section of a recipe that reads the tree."""
        return FolderData(root=str(self.root), classes=tuple(ClassEntry(name=name) for name in CLASSES))

    def recipe(self) -> Path:
        """Write a recipe beside the tree."""
        data = {"format": "folder", "root": str(self.root), "classes": [{"name": name} for name in CLASSES]}
        path = self.root.parent / "recipe.json"
        path.write_text(json.dumps({"recipe_version": 1, "name": "mine", "model": {"name": "fast_scnn"}, "data": data}))
        return path

    def put(self, image: bytes | Pixels | None = None, mask: bytes | Pixels | None = None, name: str = "bad") -> Path:
        """Add a pair, halves of which may be bytes as they are; return the half that is given, the image by default."""
        files = (self.images / f"{name}.png", self.masks / f"{name}.png")
        for path, given, usual in zip(files, (image, mask), (picture(9), labels(9)), strict=True):
            if isinstance(given, bytes):
                path.write_bytes(given)
            else:
                save(usual if given is None else given, path)
        return files[1] if image is None and mask is not None else files[0]


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Return random colours."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def labels(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Return random labels of the three classes."""
    return np.random.default_rng(seed).integers(0, len(CLASSES), (height, width), np.uint8)


def save(pixels: Pixels, path: Path) -> None:
    """Write pixels as the path's suffix says."""
    Image.fromarray(pixels).save(path)


def encode(pixels: Pixels | Image.Image, format_: str, **options: Any) -> bytes:
    """Return an image file's bytes."""
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, format=format_, **options)
    return buffer.getvalue()


def frames(format_: str) -> bytes:
    """Return an animation, or a stack of pages."""
    first, second = (Image.fromarray(picture(seed)) for seed in (5, 6))
    return encode(first, format_, save_all=True, append_images=[second])


def tiff(pixels: Any, **options: Any) -> bytes:
    """Return a TIFF's bytes."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes], interlace: int = 0) -> bytes:
    """Return a PNG of 8-bit colours with the given chunks between its first and its last."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlace)
    every = ((b"IHDR", header), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in every
    )


def huge_png() -> bytes:
    """Return a PNG whose header promises 10 gigapixels."""
    return png(100_000, 100_000)


def lines(pixels: Pixels) -> bytes:
    """Return the lines of an image as a PNG holds them before they are packed."""
    return b"".join(b"\0" + line.tobytes() for line in pixels)


def comment_bomb() -> bytes:
    """Return a good PNG with a comment that is a thousand times as long when it is unpacked."""
    comment = b"Comment\0\0" + zlib.compress(bytes(100_000_000))
    return png(WIDTH, HEIGHT, (b"zTXt", comment), (b"IDAT", zlib.compress(lines(picture(9)))))


def padded() -> bytes:
    """Return a good PNG whose pixels are followed by 100 MB of zeros in the packed stream."""
    return png(WIDTH, HEIGHT, (b"IDAT", zlib.compress(lines(picture(9)) + bytes(100_000_000))))


def interlaced() -> bytes:
    """Return a PNG in seven passes."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    parts = b"".join(lines(picture(9)[y::down, x::right]) for x, y, right, down in passes)
    return png(WIDTH, HEIGHT, (b"IDAT", zlib.compress(parts)), interlace=1)


def bad_crc() -> bytes:
    """Return a PNG whose pixels do not fit their checksum."""
    content = bytearray(encode(picture(9), "PNG"))
    content[content.index(b"IDAT") + 40] ^= 0xFF
    return bytes(content)


def palette_mask(values: Pixels) -> bytes:
    """Return a palette image of the given indices."""
    image = Image.fromarray(values).convert("P")
    image.putdata(values.ravel().tolist())
    image.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    return encode(image, "PNG")


def rotated(pixels: Pixels) -> bytes:
    """Return a JPEG that EXIF says is to be turned by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(pixels, "JPEG", exif=exif, quality=95)


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


JPEG, PNG = encode(picture(9), "JPEG"), encode(picture(9), "PNG")

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


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Return a data set of good files, and keep the records out of the user's cache."""
    monkeypatch.setenv("SEGZOO_CACHE", str(tmp_path / "cache"))
    return Tree(tmp_path / "data")


@pytest.fixture
def check(tree: Tree) -> Iterator[Callable[..., Result]]:
    """Return a function that runs ``segzoo data check`` on the tree, and undo what it does to logging."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield lambda *options: CliRunner().invoke(app, ["data", "check", str(tree.recipe()), *options])
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("segzoo").setLevel(logging.NOTSET)


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


def named(name: str) -> Callable[[Tree], Pixels]:
    """Return a case of a good pair with a rare name."""

    def plant(tree: Tree) -> Pixels:
        tree.put(name=name)
        return labels(9)

    return plant


def with_mask(
    mask: Callable[[], bytes], expected: Callable[[], Pixels] = lambda: labels(9)
) -> Callable[[Tree], Pixels]:
    """Return a case of a mask in a rare form."""

    def plant(tree: Tree) -> Pixels:
        tree.put(mask=mask())
        return expected()

    return plant


def with_image(image: Callable[[], bytes], mask: Callable[[], Pixels] = lambda: labels(9)) -> Callable[[Tree], Pixels]:
    """Return a case of an image in a rare form."""

    def plant(tree: Tree) -> Pixels:
        tree.put(image(), mask())
        return mask()

    return plant


def other_suffix(image: str, mask: str) -> Callable[[Tree], Pixels]:
    """Return a case of a pair with other suffixes."""

    def plant(tree: Tree) -> Pixels:
        save(picture(9), tree.images / "bad.png")
        save(labels(9), tree.masks / "bad.png")
        (tree.images / "bad.png").rename(tree.images / f"bad{image}")
        (tree.masks / "bad.png").rename(tree.masks / f"bad{mask}")
        return labels(9)

    return plant


def beside(name: str) -> Callable[[Tree], Pixels]:
    """Return a case of a good pair, with files beside it that are no data."""

    def plant(tree: Tree) -> Pixels:
        for folder in (tree.images, tree.masks):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"no data")
        tree.put()
        return labels(9)

    return plant


def linked(tree: Tree) -> Pixels:
    """Add a pair of links to good files elsewhere."""
    save(picture(9), tree.root / "elsewhere.png")
    save(labels(9), tree.root / "mask.png")
    (tree.images / "bad.png").symlink_to(tree.root / "elsewhere.png")
    (tree.masks / "bad.png").symlink_to(tree.root / "mask.png")
    return labels(9)


def grey_bits(bits: int) -> bytes:
    """Return a mask of labels 0 and 1 in a PNG of so many bits."""
    image = Image.fromarray((labels(9) % 2 * 255).astype(np.uint8)).convert("1")
    return encode(image, "PNG", bits=bits)


READ: dict[str, Callable[[Tree], Pixels]] = {
    "3x5000 pixels": with_image(lambda: encode(picture(9, 5000, 3), "PNG"), lambda: labels(9, 5000, 3)),
    "CMYK JPEG": with_image(lambda: encode(Image.fromarray(picture(9)).convert("CMYK"), "JPEG")),
    "JPEG named .png": with_image(lambda: JPEG),
    "progressive JPEG": with_image(lambda: encode(picture(9), "JPEG", progressive=True)),
    "grey image": with_image(lambda: encode(picture(9)[..., 0], "PNG")),
    "RGBA image": with_image(lambda: encode(np.dstack([picture(9), labels(9)]), "PNG")),
    "16-bit grey image": with_image(lambda: encode(Image.fromarray(picture(9)[..., 0].astype(np.uint16) * 257), "PNG")),
    "palette image with transparency": with_image(
        lambda: encode(Image.fromarray(picture(9)).quantize(200), "PNG", transparency=3)
    ),
    "BMP": with_image(lambda: encode(picture(9), "BMP")),
    "PPM": with_image(lambda: encode(picture(9), "PPM")),
    "WEBP": with_image(lambda: encode(picture(9), "WEBP")),
    "GIF of one frame": with_image(lambda: encode(picture(9), "GIF")),
    "PNG with rubbish after its end": with_image(lambda: PNG + b"rubbish" * 99),
    "interlaced PNG": with_image(interlaced),
    "PNG that unpacks to 100 MB more than its pixels": with_image(padded),
    "EXIF-rotated image, upright mask": with_image(lambda: rotated(picture(9)), lambda: labels(9, WIDTH, HEIGHT)),
    "palette mask": with_mask(lambda: palette_mask(labels(9))),
    "grey mask with alpha": with_mask(lambda: encode(Image.merge("LA", [Image.fromarray(labels(9))] * 2), "PNG")),
    "1-bit mask": with_mask(lambda: grey_bits(1), lambda: labels(9) % 2),
    "16-bit mask of small values": with_mask(lambda: encode(Image.fromarray(labels(9).astype(np.uint16)), "PNG")),
    "TIFF mask": with_mask(lambda: tiff(labels(9))),
    "suffixes in capitals": other_suffix(".PNG", ".PnG"),
    "PNG named .jpg": other_suffix(".jpg", ".jpeg"),
    "hidden files": beside(".DS_Store.png"),
    "hidden folder": beside(".thumbnails/bad.png"),
    "Thumbs.db": beside("Thumbs.db"),
    "a readme": beside("README.txt"),
    "links to files": linked,
    "unicode and spaces in the name": named("zwei Bären 🐻 (1)"),
    "very long name": named("n" * 250),
    "line break in the name": named("two\nlines"),
    "name that is no UTF-8": named(os.fsdecode(b"\xe9t\xe9")),
    "name like an option": named("--help"),
    "name with dots": named("a.b.c"),
    "name with markup": named("[red]a[bold]"),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_rare_but_right_is_read(tree: Tree, check: Callable[..., Result], case: str) -> None:
    """The check is clean, as a table and as JSON, and the mask is what was saved."""
    expected = READ[case](tree)
    for options in ((), ("--json",)):
        result = check(*options)
        assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"] == []
    source, findings = list_source(tree.section, seed=0)
    assert findings == ()
    (sample,) = [sample for sample in source.splits["train"] if not sample.name.startswith("good")]
    image, mask = source.read(sample)
    assert image.shape == (*expected.shape, 3)
    np.testing.assert_array_equal(mask, expected)


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
