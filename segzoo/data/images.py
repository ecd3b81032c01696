"""Reading images and masks: decoded whole, upright, converted by known rules or refused with a reason.

Images become 8-bit RGB: grey and palette images gain colours, alpha is dropped, CMYK is converted, 16 bits are divided
by 257. Masks become 8-bit labels. The orientation that EXIF notes is applied to both. Animations and stacks of pages
are refused; of a camera's multi-picture JPEG the first picture is taken.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from segzoo.data.source import Pixels
from segzoo.errors import DataError
from segzoo.recipe.data import ClassEntry

MaskMode = Literal["index", "palette", "rgb", "binary"]

MAX_PIXELS = 200_000_000
"""What a header may promise; decoding it to RGB takes 600 MB."""

# Pillow's other plugins read rare formats, one of them by running a program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_TO_RGB = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
_SIXTEEN_BIT = {"I;16", "I;16B", "I;16L", "I;16N"}
_LABELS = {"1", "L", "P", "I", *_SIXTEEN_BIT}
# Pillow spreads grey values of 2 and 4 bits over 0 to 255; labels must be taken back.
_SPREAD = {"L;2": 85, "L;4": 17}
_BLACK_WHITE = ((0, 0, 0), (255, 255, 255))

_opening = threading.Lock()


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Return an image as uint8 ``(H, W, 3)`` in RGB.

    Args:
        path: The file.
        max_pixels: Height times width from which on the file is refused before it is decoded.

    Raises:
        DataError: If the file cannot be read whole, is too large, or is of a kind that is not converted.
    """
    with _decoded(path, max_pixels) as (image, _):
        return _to_rgb(image)


def read_mask(path: Path, mode: MaskMode, classes: Sequence[ClassEntry], *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Return a mask as uint8 ``(H, W)`` of labels.

    Args:
        path: The file; not a JPEG, which changes values.
        mode: ``index`` takes the values of a grey image or the indices of a palette image, ``palette`` insists on a
            palette, ``rgb`` looks up each pixel among the colours of the classes, ``binary`` knows black (label 0)
            and white (label 1).
        classes: Their colours are used by ``rgb``.
        max_pixels: As for images.

    Raises:
        DataError: If the file cannot be read whole or does not fit the mode.
    """
    with _decoded(path, max_pixels) as (image, raw_mode):
        if image.format in ("JPEG", "MPO"):
            raise _RefusedError("a JPEG changes values on saving and cannot hold labels")
        if mode == "binary":
            return _look_up(_to_rgb(image), _BLACK_WHITE, "is neither black nor white; mask_mode 'index' reads labels")
        if mode == "rgb":
            colors = [entry.color or (0, 0, 0) for entry in classes]
            return _look_up(_to_rgb(image), colors, "belongs to no class")
        return _labels(image, raw_mode, mode)


class _RefusedError(Exception):
    """A reason without the path; never leaves this module."""


@contextmanager
def _decoded(path: Path, max_pixels: int) -> Iterator[tuple[Image.Image, str]]:
    """Yield the upright image and the layout of its values in the file; faults inside become a DataError."""
    try:
        with _open(path) as image:
            _check_header(image, max_pixels)
            raw_mode = _raw_mode(image)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            yield image, raw_mode
    except _RefusedError as error:
        raise DataError(f"{path}: {error}") from None
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        reason = "the file is empty" if empty else f"not an image, or none of the formats {', '.join(FORMATS)}"
        raise DataError(f"{path}: {reason}") from error
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: {error.strerror}") from error
        raise DataError(f"{path}: the file is truncated or damaged ({error})") from error


def _open(path: Path) -> Image.Image:
    """Read the header without Pillow's own limit, which is lower and warns from half of it on."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_header(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise _RefusedError(f"{image.width}x{image.height} pixels are more than the limit of {max_pixels:,}")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise _RefusedError(f"it has {getattr(image, 'n_frames', 2)} frames or pages; only single images are read")


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", [])
    arguments = tiles[0].args if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _to_rgb(image: Image.Image) -> Pixels:
    # Pillow opens PPM files of more than 8 bits as "I", scaled to 16.
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format == "PPM"):
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode not in _TO_RGB:
        raise _RefusedError(f"images of Pillow's mode {image.mode!r} are not converted; save it as 8- or 16-bit")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _labels(image: Image.Image, raw_mode: str, mode: MaskMode) -> Pixels:
    if image.mode == "LA":
        image = image.getchannel("L")
    if image.mode not in _LABELS:
        raise _RefusedError(f"a colour mask ({image.mode}) where labels are expected; mask_mode 'rgb' reads colours")
    if mode == "palette" and image.mode != "P":
        raise _RefusedError(f"it has no palette ({image.mode}); mask_mode 'index' reads its values")
    values = np.array(image)
    if values.dtype not in (np.uint8, np.bool_) and not 0 <= values.min() <= values.max() <= 255:
        raise _RefusedError(f"it holds values from {values.min()} to {values.max()}, but labels are 0 to 255")
    labels: Pixels = values.astype(np.uint8, copy=False) // np.uint8(_SPREAD.get(raw_mode, 1))
    return labels


def _look_up(rgb: Pixels, colors: Sequence[tuple[int, int, int]], complaint: str) -> Pixels:
    """Return the position of each pixel's colour among ``colors``."""
    codes = _codes(rgb)
    known = _codes(np.array(colors, np.uint8))
    order = np.argsort(known)
    places = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
    labels: Pixels = order[places].astype(np.uint8)
    wrong = known[labels] != codes
    if wrong.any():
        red, green, blue = rgb[wrong][0].tolist()
        raise _RefusedError(f"the colour ({red}, {green}, {blue}) {complaint}")
    return labels


def _codes(rgb: Pixels) -> NDArray[np.int32]:
    return rgb.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
