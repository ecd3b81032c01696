"""Reading images and masks: decoded whole, upright, converted by known rules or refused with a reason.

Images become bytes of as many channels as the model has. Three are RGB: grey and palette images gain colours, alpha is
dropped, CMYK is converted. One is grey: colour images are reduced to their luma. Of any other number the file must have
exactly that many bands, which stay as they are: alpha is the fourth of RGBA, and TIFFs hold any number. 16 bits are
divided by 257; of 16-bit colour that Pillow reads, the high byte is taken.

Masks become 8-bit labels. The orientation that EXIF or a TIFF notes is applied to both. Animations and stacks of pages
are refused; of a camera's multi-picture JPEG the first picture is taken.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from segzoo.data.files.refusals import RefusedError, check_bands, check_frames, check_pixels
from segzoo.data.files.tiff import is_tiff, quiet_tifffile, read_bands, to_bytes
from segzoo.data.findings import FileFault, Finding
from segzoo.data.source import Pixels
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

# Tags of a TIFF.
_BITS, _PHOTOMETRIC, _BANDS, _PLANES = 258, 262, 277, 284

_limit = threading.Lock()


def read_image(path: Path, *, channels: int = 3, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Return an image as uint8 ``(H, W, channels)``.

    Args:
        path: The file.
        channels: 3 is RGB and 1 is grey, to which images are converted; any other is how many bands the file must have.
        max_pixels: Height times width from which on the file is refused before it is decoded.

    Raises:
        FileFault: If the file cannot be read whole, is too large, has another number of bands, or is of a kind that is
            not converted.
    """
    with faults(path):
        try:
            with _opened(path, max_pixels) as image:
                if not isinstance(image, TiffImageFile) or _keeps_bands(image, channels):
                    _load(image)
                    return _to_channels(image, channels)
        except UnidentifiedImageError:
            if not is_tiff(path):
                raise
        return read_bands(path, channels=channels, max_pixels=max_pixels)


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
        FileFault: If the file cannot be read whole or does not fit the mode.
    """
    with faults(path), _opened(path, max_pixels) as image:
        raw_mode = _raw_mode(image)
        _load(image)
        if image.format in ("JPEG", "MPO"):
            raise RefusedError("unsupported", "a JPEG changes values on saving and cannot hold labels")
        if isinstance(image, TiffImageFile) and not _keeps_bands(image, 3):
            kinds = "a mask has one band of labels, or red, green and blue of 8 bits"
            raise RefusedError("colour_mask", f"its {_band_count(image)} bands are no mask: {kinds}")
        if mode == "binary":
            return _look_up(_to_rgb(image), _BLACK_WHITE, "is neither black nor white; mask_mode 'index' reads labels")
        if mode == "rgb":
            colors = [entry.color or (0, 0, 0) for entry in classes]
            return _look_up(_to_rgb(image), colors, "belongs to no class")
        return _labels(image, raw_mode, mode)


def visible(image: Pixels) -> Pixels:
    """Return uint8 ``(H, W, 3)`` to look at: one or two channels as grey, the first three of more."""
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Turn whatever is raised while a file is read into a FileFault."""
    try:
        _check_file(path)
        yield
    except RefusedError as error:
        raise FileFault(Finding(error.kind, str(path), str(error))) from None
    except UnidentifiedImageError as error:
        reason = f"not an image, or none of the formats {', '.join(FORMATS)}"
        raise FileFault(Finding("unreadable", str(path), reason)) from error
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        system = isinstance(error, OSError) and error.strerror
        reason = str(system or f"the file is truncated or damaged ({error})")
        raise FileFault(Finding("unreadable", str(path), reason)) from error


def _check_file(path: Path) -> None:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return  # opening it gives the system's reason
    if not stat.S_ISREG(status.st_mode):
        # A pipe would be waited for.
        raise RefusedError("unreadable", "it is not a regular file")
    if status.st_size == 0:
        raise RefusedError("unreadable", "the file is empty")


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Yield an image of which the header is read and found good."""
    # Where Pillow is given the path, it maps the file and mistakes the width for the height of a TIFF on its side.
    with path.open("rb") as file:
        with _without_limit(), quiet_tifffile():
            image = Image.open(file, formats=FORMATS)
        check_pixels(image.width, image.height, max_pixels)
        if image.format != "MPO" and getattr(image, "is_animated", False):
            check_frames(getattr(image, "n_frames", 2))
        yield image


@contextmanager
def _without_limit() -> Iterator[None]:
    """Suspend Pillow's own limit on pixels, which is lower and warns from half of it on."""
    with _limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _load(image: Image.Image) -> None:
    """Decode the image whole and turn it upright."""
    if isinstance(image, TiffImageFile):
        with _without_limit():
            image.load_prepare()  # asks for the limit once more
    image.load()
    ImageOps.exif_transpose(image, in_place=True)


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", [])
    arguments = tiles[0].args if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _keeps_bands(image: TiffImageFile, channels: int) -> bool:
    """Say whether Pillow reads a TIFF without a loss beside the alpha that RGB drops."""
    tags, bands = image.tag_v2, _band_count(image)
    # It takes the first plane for all, unless the planes are the bytes of red, green and blue.
    if bands > 1 and tags.get(_PLANES, 1) != 1 and (tags.get(_PHOTOMETRIC) != 2 or max(tags.get(_BITS, (1,))) != 8):
        return False
    if channels in (1, 3):
        return bands <= 4
    # Pillow divides colours by an alpha that they were multiplied with.
    return channels == 4 and _raw_mode(image) == "RGBA"


def _band_count(image: TiffImageFile) -> int:
    count: int = image.tag_v2.get(_BANDS, 1)
    return count


def _to_channels(image: Image.Image, channels: int) -> Pixels:
    if channels == 3:
        return _to_rgb(image)
    if channels == 1:
        return _to_grey(image)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode in ("CMYK", "YCbCr"):
        image = image.convert("RGB")
    check_bands(len(image.getbands()), channels)
    return np.array(image)


def _to_rgb(image: Image.Image) -> Pixels:
    if _is_sixteen_bit(image):
        return np.repeat(to_bytes(np.asarray(image).astype(np.uint16))[..., None], 3, axis=2)
    if image.mode not in _TO_RGB:
        raise RefusedError(
            "unsupported", f"images of Pillow's mode {image.mode!r} are not converted; save it as 8- or 16-bit"
        )
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _to_grey(image: Image.Image) -> Pixels:
    if _is_sixteen_bit(image):
        return to_bytes(np.asarray(image).astype(np.uint16))[..., None]
    if image.mode in ("1", "L", "LA"):
        return np.array(image.convert("L"))[..., None]
    return np.array(Image.fromarray(_to_rgb(image)).convert("L"))[..., None]


def _is_sixteen_bit(image: Image.Image) -> bool:
    # Pillow opens PPM files of more than 8 bits as "I", scaled to 16.
    return image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format == "PPM")


def _labels(image: Image.Image, raw_mode: str, mode: MaskMode) -> Pixels:
    if image.mode == "LA":
        image = image.getchannel("L")
    if image.mode not in _LABELS:
        raise RefusedError(
            "colour_mask", f"a colour mask ({image.mode}) where labels are expected; mask_mode 'rgb' reads colours"
        )
    if mode == "palette" and image.mode != "P":
        raise RefusedError("unsupported", f"it has no palette ({image.mode}); mask_mode 'index' reads its values")
    values = np.array(image)
    if values.dtype not in (np.uint8, np.bool_) and not 0 <= values.min() <= values.max() <= 255:
        raise RefusedError(
            "label_outside_classes", f"it holds values from {values.min()} to {values.max()}, but labels are 0 to 255"
        )
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
        raise RefusedError("unknown_colour", f"the colour ({red}, {green}, {blue}) {complaint}")
    return labels


def _codes(rgb: Pixels) -> NDArray[np.int32]:
    return rgb.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
