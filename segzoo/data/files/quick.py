"""A quicker decoder for plain files that Pillow has decoded whole before: the same bytes, or nothing.

OpenCV takes a quarter less time than Pillow. But it gives a damaged JPEG back as if it were whole, and turns images by
rules of its own. So it is only for files that a scan has found good, and among them for those whose structure leaves
no room for a difference. For JPEGs it must be seen to give what Pillow does: that depends on the libraries that both
were built with.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from PIL import Image

from segzoo.data.source import Pixels

_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xFFDA
_SEQUENTIAL = (0xFFC0, 0xFFC1)
# Tables, restart interval, comments and every APPn but the second, which may tell of an orientation.
_PASSED = {0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE, *range(0xFFE0, 0xFFF0)} - {0xFFE1}
# Sampling factors of each component: grey, and colour at full, half and quarter resolution.
_SAMPLING = {b"\x11", b"\x11\x11\x11", b"\x21\x11\x11", b"\x22\x11\x11"}
# Pillow's modes and numbers for the same.
_SAVED = (("L", 0), ("RGB", 0), ("RGB", 1), ("RGB", 2))

_PNG = b"\x89PNG\r\n\x1a\n"
_CHUNKS = {b"IHDR", b"pHYs", b"IDAT", b"IEND"}
_GREY_BYTES = (8, 0)


def quick_image(path: Path) -> Pixels | None:
    """Return a plain JPEG as uint8 ``(H, W, 3)`` in RGB; None leaves it to Pillow.

    Plain is sequential, 8-bit, grey or colour, without EXIF and XMP, and with its end in place.

    Args:
        path: The file, as it was when Pillow decoded it.
    """
    if path.suffix.lower() not in (".jpg", ".jpeg") or not _jpegs_agree():
        return None
    return _decode(path, _refuse_jpeg, cv2.IMREAD_COLOR_RGB)


def quick_mask(path: Path) -> Pixels | None:
    """Return a PNG of grey bytes and nothing else as uint8 ``(H, W)``; None leaves it to Pillow.

    Args:
        path: The file, as it was when Pillow decoded it.
    """
    if path.suffix.lower() != ".png":
        return None
    return _decode(path, _refuse_png, cv2.IMREAD_UNCHANGED)


class _NotPlainError(Exception):
    """Left to Pillow; never leaves this module."""


def _decode(path: Path, refuse: Callable[[bytes], None], mode: int) -> Pixels | None:
    try:
        data = path.read_bytes()
        refuse(data)
        return _pixels(data, mode)
    except (_NotPlainError, IndexError, OSError, struct.error, cv2.error):
        return None


def _pixels(data: bytes, mode: int) -> Pixels | None:
    return cast("Pixels | None", cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION))


def _refuse_jpeg(data: bytes) -> None:
    """Raise unless the file is a plain JPEG."""
    if not (data.startswith(_SOI) and data.endswith(_EOI)):
        raise _NotPlainError
    plain = False
    start = len(_SOI)
    while (marker := _number(data, start)) != _SOS:
        if marker in _SEQUENTIAL:
            precision, components = data[start + 4], data[start + 9]
            plain = precision == 8 and data[start + 11 : start + 10 + 3 * components : 3] in _SAMPLING
        elif marker not in _PASSED:
            raise _NotPlainError
        start += 2 + _number(data, start + 2)
    if not plain:
        raise _NotPlainError


def _number(data: bytes, start: int) -> int:
    return cast(int, struct.unpack_from(">H", data, start)[0])


def _refuse_png(data: bytes) -> None:
    """Raise unless the file is a PNG of grey bytes."""
    kinds = list(_chunks(data))
    layout = struct.unpack_from(">BB", data, 24)
    if layout != _GREY_BYTES or kinds[0] != b"IHDR" or kinds[-1] != b"IEND" or not _CHUNKS.issuperset(kinds):
        raise _NotPlainError


def _chunks(data: bytes) -> Iterator[bytes]:
    """Yield the name of each chunk of a PNG, whose checksums must be right: OpenCV would print what is wrong."""
    if not data.startswith(_PNG):
        raise _NotPlainError
    start = len(_PNG)
    while start < len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        if struct.unpack_from(">I", data, end)[0] != zlib.crc32(data[start + 4 : end]):
            raise _NotPlainError
        yield kind
        start = end + 4


@cache
def _jpegs_agree() -> bool:
    """Return whether OpenCV decodes plain JPEGs of every sampling to the bytes that Pillow gives."""
    noise = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8).repeat(5, axis=0).repeat(7, axis=1)
    return all(_agrees(Image.fromarray(noise).convert(mode), sampling) for mode, sampling in _SAVED)


def _agrees(image: Image.Image, sampling: int) -> bool:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, subsampling=sampling)
    ours = _pixels(file.getvalue(), cv2.IMREAD_COLOR_RGB)
    return ours is not None and np.array_equal(ours, np.array(Image.open(file).convert("RGB")))
