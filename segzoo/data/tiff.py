"""Reading TIFFs of any number of bands, which Pillow does not: tifffile decodes them, and nothing is converted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segzoo.data.refusals import RefusedError, check_bands, check_frames, check_pixels
from segzoo.data.source import Pixels

if TYPE_CHECKING:
    from tifffile import TiffPage

_MAGIC = frozenset({b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"})
ORIENTATION = 274
# Both remark on standard error upon what is refused or read well all the same.
_TALKERS = tuple(logging.getLogger(name) for name in ("tifffile", "PIL.TiffImagePlugin"))


def is_tiff(path: Path) -> bool:
    """Say whether a file begins like a TIFF."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def read_bands(path: Path, *, channels: int, max_pixels: int) -> Pixels:
    """Return a TIFF as uint8 ``(H, W, channels)``: the bands as they are, those of 16 bits divided by 257.

    Args:
        path: The file. Its bands may lie pixel by pixel or plane by plane.
        channels: How many bands it must have.
        max_pixels: Height times width from which on the file is refused before it is decoded.

    Raises:
        RefusedError: If the file is of another kind.
        Exception: Whatever tifffile stumbles over in a damaged file.
    """
    # Only data sets of TIFFs need tifffile.
    from tifffile import TiffFile

    with quiet(), TiffFile(path) as tiff:
        page = tiff.pages.first
        check_pixels(page.imagewidth, page.imagelength, max_pixels)
        check_frames(len(tiff.pages) * page.imagedepth)
        check_bands(page.samplesperpixel, channels)
        check_values(page)
        tag = page.tags.get(ORIENTATION)
        return np.ascontiguousarray(_upright(to_bytes(_decode(page)), 1 if tag is None else tag.value))


def to_bytes(values: NDArray[np.uint8] | NDArray[np.uint16]) -> Pixels:
    """Divide 16-bit values by 257, rounded, so that both ends are kept; bytes are returned as they are."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the remarks of the libraries that read TIFFs to themselves."""

    def silence(_: logging.LogRecord) -> bool:
        return False

    for logger in _TALKERS:
        logger.addFilter(silence)
    try:
        yield
    finally:
        for logger in _TALKERS:
            logger.removeFilter(silence)


def check_values(page: TiffPage) -> None:
    """Refuse bands that are neither bytes nor 16-bit numbers, or no plain colours."""
    from tifffile import PHOTOMETRIC, SAMPLEFORMAT

    if page.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB):
        name = getattr(page.photometric, "name", page.photometric)
        raise RefusedError("unsupported", f"bands of the photometric interpretation {name} are not converted")
    if page.sampleformat != SAMPLEFORMAT.UINT or page.bitspersample not in (8, 16):
        kind = getattr(page.sampleformat, "name", page.sampleformat)
        raise RefusedError(
            "unsupported",
            f"its bands are of {page.bitspersample} bits ({kind}); only unsigned integers of 8 and 16 bits are read",
        )


def _decode(page: TiffPage) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the values ``(H, W, bands)``."""
    check_complete(page)
    with naming_codec(page):
        # Shaped (planes, depth, height, width, bands in a plane). One thread: images are read by many workers.
        values = page.asarray(squeeze=False, maxworkers=1)
    planes, _, height, width, bands = page.shaped
    return np.moveaxis(values.reshape(planes, height, width, bands), 0, 2).reshape(height, width, planes * bands)


def check_complete(page: TiffPage) -> None:
    """Refuse an image that lacks strips or tiles: they would be filled with zeros."""
    if len(page.dataoffsets) != len(page.databytecounts) or len(page.dataoffsets) != np.prod(page.chunked):
        raise ValueError("parts of the image are missing")


@contextmanager
def naming_codec(page: TiffPage) -> Iterator[None]:
    """Let a compression that nothing installed can undo be told by its name."""
    try:
        yield
    except Exception as error:
        if "imagecodecs" not in str(error):
            raise
        compression = getattr(page.compression, "name", page.compression)
        raise RefusedError(
            "unsupported",
            f"{compression} compression needs another package (pip install imagecodecs); "
            "or save it uncompressed or with DEFLATE",
        ) from error


def _upright(image: Pixels, orientation: int) -> Pixels:
    """Turn and mirror an image as TIFF and EXIF number it; what is no such number is no orientation."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image
