"""Reading a TIFF some rows at a time: of an image larger than memory only the strips or tiles at hand are held."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segzoo.data.files.images import MAX_PIXELS, faults
from segzoo.data.files.refusals import RefusedError, check_bands, check_frames, check_pixels
from segzoo.data.files.tiff import ORIENTATION, check_complete, check_values, naming_codec, quiet_tifffile, to_bytes
from segzoo.data.source import Pixels

if TYPE_CHECKING:
    from tifffile import TiffFile

if TYPE_CHECKING:
    from tifffile import TiffFile

Values = NDArray[np.uint8] | NDArray[np.uint16]

WHOLE = "without --window it is read whole, up to the limit on pixels"


class TiffRows:
    """The rows of a TIFF as bytes.

    Args:
        path: The file, for messages.
        tiff: The opened file.
        channels: 3 is RGB, to which grey images are repeated and of which alpha is dropped; of any other number the
            file must have exactly that many bands.
        max_pixels: How many pixels a strip or tile may have, as it is decoded whole.
    """

    def __init__(self, path: Path, tiff: TiffFile, *, channels: int, max_pixels: int) -> None:
        page = tiff.pages.first
        check_frames(len(tiff.pages) * page.imagedepth)
        check_values(page)
        check_complete(page)
        tag = page.tags.get(ORIENTATION)
        if tag is not None and tag.value in range(2, 9):
            raise RefusedError("unsupported", f"it is to be turned (orientation {tag.value}); {WHOLE}")
        self.size: tuple[int, int] = (page.imagelength, page.imagewidth)
        self._path, self._tiff, self._page = path, tiff, page
        self._bands: int = page.samplesperpixel
        self._channels = channels
        if channels != 3 or self._bands not in (1, 3, 4):
            check_bands(self._bands, channels)
        if not page.is_contiguous:
            height, width = self._chunk
            check_pixels(width, height, max_pixels)
        self._kept: dict[int, Values] = {}

    def read(self, top: int, bottom: int) -> Pixels:
        """Return the rows from ``top`` up to ``bottom``, uint8 ``(rows, W, channels)``.

        Raises:
            FileFault: If the file ends too early, or what it holds there is damaged.
        """
        with faults(self._path), quiet_tifffile():
            values = self._plain(top, bottom) if self._page.is_contiguous else self._decoded(top, bottom)
            return self._converted(to_bytes(values))

    @property
    def _planes(self) -> int:
        """How many planes the bands lie in: one, or one each."""
        return int(self._page.shaped[0])

    @property
    def _chunk(self) -> tuple[int, int]:
        """Height and width of a strip or tile."""
        height, width = (self._page.tilelength, self._page.tilewidth) if self._page.is_tiled else self._strip
        return min(height, self.size[0]), width

    @property
    def _strip(self) -> tuple[int, int]:
        return self._page.rowsperstrip, self.size[1]

    def _plain(self, top: int, bottom: int) -> Values:
        """Return rows that lie in the file as they are."""
        height, width = self.size
        dtype = np.dtype(self._page.dtype).newbyteorder(self._tiff.byteorder)
        bands = self._bands // self._planes
        row = width * bands * dtype.itemsize
        parts = []
        for plane in range(self._planes):
            data = self._bytes(self._page.dataoffsets[0] + (plane * height + top) * row, (bottom - top) * row)
            parts.append(np.frombuffer(data, dtype).reshape(bottom - top, width, bands))
        return np.concatenate(parts, axis=2).astype(self._page.dtype, copy=False)

    def _decoded(self, top: int, bottom: int) -> Values:
        """Return rows out of strips or tiles; those that the next call may need are kept."""
        height = self._chunk[0]
        wanted = range(top // height, math.ceil(bottom / height))
        self._kept = {index: rows for index, rows in self._kept.items() if index in wanted}
        for index in wanted:
            if index not in self._kept:
                self._kept[index] = self._chunk_row(index)
        rows = np.concatenate([self._kept[index] for index in wanted])
        return rows[top - wanted.start * height : bottom - wanted.start * height]

    def _chunk_row(self, index: int) -> Values:
        """Return a row of strips or tiles, ``(rows, W, bands)``."""
        page, (height, width) = self._page, self._chunk
        down, across = math.ceil(self.size[0] / height), math.ceil(self.size[1] / width)
        rows = min(height, self.size[0] - index * height)
        found = np.empty((rows, self.size[1], self._bands), page.dtype)
        bands = self._bands // self._planes
        for plane in range(self._planes):
            for column in range(across):
                place = (plane * down + index) * across + column
                left = column * width
                part = self._segment(place)[0, :rows, : self.size[1] - left]
                found[:, left : left + part.shape[1], plane * bands : (plane + 1) * bands] = part
        return found

    def _segment(self, place: int) -> Values:
        page = self._page
        data = self._bytes(page.dataoffsets[place], page.databytecounts[place])
        with naming_codec(page):
            segment, _, _ = page.decode(data, place, jpegtables=page.jpegtables)
        if segment is None:
            raise ValueError("parts of the image are missing")
        decoded: Values = segment
        return decoded

    def _bytes(self, offset: int, count: int) -> bytes:
        handle = self._tiff.filehandle
        handle.seek(offset)
        data: bytes = handle.read(count)
        if len(data) != count:
            raise ValueError("the file ends too early")
        return data

    def _converted(self, image: Pixels) -> Pixels:
        if self._channels == 3 and self._bands == 1:
            return np.repeat(image, 3, axis=2)
        return image[..., : self._channels]


@contextmanager
def open_rows(path: Path, *, channels: int, max_pixels: int = MAX_PIXELS) -> Iterator[TiffRows]:
    """Open a TIFF of any size.

    Args:
        path: The file.
        channels: As :class:`TiffRows` takes them.
        max_pixels: How many pixels a strip or tile may have.

    Raises:
        FileFault: If the file is damaged or of a kind that is not read in parts.
    """
    from tifffile import TiffFile

    with ExitStack() as stack:
        with faults(path), quiet_tifffile():
            tiff = TiffFile(stack.enter_context(path.open("rb")))
            rows = TiffRows(path, tiff, channels=channels, max_pixels=max_pixels)
        yield rows
