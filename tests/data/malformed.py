"""A small data set of good files, and the making of files that are damaged or unusual."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from segzoo.data.source import Pixels
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


JPEG, PNG = encode(picture(9), "JPEG"), encode(picture(9), "PNG")
