"""What is written of a labelled image: a mask, and on request overlay, probabilities and contours."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segzoo.data.images import faults, visible
from segzoo.data.source import Pixels
from segzoo.files import naming, replacing, write_atomic
from segzoo.inference.contours import coco_annotations, geojson
from segzoo.inference.method import read_names

Extra = Literal["overlay", "probabilities", "geojson", "coco"]

TILE = 256
"""Side of the tiles of a mask that is written in parts."""

BIG = 2**32 - 2**25
"""Bytes from which on a TIFF needs 64-bit offsets."""

COCO = "coco.json"


def read_extras(text: str) -> tuple[Extra, ...]:
    """Return the names in a list such as ``"overlay,geojson"``.

    Raises:
        UnknownName: If one of them is nothing that can be written.
    """
    known: tuple[Extra, ...] = get_args(Extra)
    return read_names(text, "output", known)


@dataclass(frozen=True)
class Targets:
    """The files of one image.

    Args:
        folder: The folder of results.
        name: The image's name in it, without suffix.
        extras: What is written beside the mask.
        in_parts: Whether the mask is a TIFF that is written in parts.
    """

    folder: Path
    name: Path
    extras: tuple[Extra, ...]
    in_parts: bool

    @property
    def mask(self) -> Path:
        """The mask."""
        return self._path(".tif" if self.in_parts else ".png")

    @property
    def overlay(self) -> Path:
        """Image and mask mixed."""
        return self._path(".png", "overlays")

    @property
    def probabilities(self) -> Path:
        """The probability of each class at each pixel."""
        return self._path(".npz", "probabilities")

    @property
    def contours(self) -> Path:
        """The regions as polygons."""
        return self._path(".geojson", "contours")

    @property
    def all(self) -> list[Path]:
        """The files that are this image's alone."""
        own = {"overlay": self.overlay, "probabilities": self.probabilities, "geojson": self.contours}
        return [self.mask, *(path for extra, path in own.items() if extra in self.extras)]

    def _path(self, suffix: str, folder: str = "") -> Path:
        path = self.folder / folder / self.name
        return path.with_name(path.name + suffix)


def write_mask(path: Path, labels: Pixels, palette: Sequence[tuple[int, int, int]]) -> None:
    """Write labels as an indexed PNG with the classes' colours."""
    picture = Image.fromarray(labels)
    picture.putpalette(_table(palette).tobytes())
    _write(path, _encoded(picture))


def read_labels(path: Path) -> Pixels:
    """Return the labels of a mask that :func:`write_mask` wrote.

    Raises:
        FileFault: If it is none.
    """
    with faults(path), Image.open(path) as mask:
        return np.array(mask)


def write_overlay(path: Path, image: Pixels, labels: Pixels, palette: Sequence[tuple[int, int, int]]) -> None:
    """Write the mean of image and colours as a PNG."""
    colours = _table(palette)[labels]
    mixed = (visible(image).astype(np.uint16) + colours) // 2
    _write(path, _encoded(Image.fromarray(mixed.astype(np.uint8))))


def write_probabilities(path: Path, probabilities: NDArray[np.float32], names: Sequence[str]) -> None:
    """Write ``probabilities``, float32 ``(num_classes, H, W)``, and ``classes``, their names, as a compressed npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probabilities=probabilities, classes=np.array(names))
    _write(path, buffer.getvalue())


def write_contours(path: Path, labels: Pixels, names: Sequence[str]) -> None:
    """Write the regions of a mask as GeoJSON."""
    _write(path, (json.dumps(geojson(labels, names), ensure_ascii=False) + "\n").encode())


class Coco:
    """The annotations of all images, in one file as COCO has them.

    Args:
        names: The classes' names by label.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._categories = [{"id": label, "name": name} for label, name in enumerate(names)]
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, file_name: str, labels: Pixels) -> None:
        """Add an image and its mask."""
        number = len(self._images) + 1
        height, width = labels.shape
        self._images.append({"id": number, "file_name": file_name, "height": height, "width": width})
        first = len(self._annotations) + 1
        self._annotations += coco_annotations(labels, image_id=number, first_id=first)

    def write(self, path: Path) -> None:
        """Write the file."""
        document = {"images": self._images, "annotations": self._annotations, "categories": self._categories}
        # Bytes of a file's name that are no UTF-8 become escapes, of which JSON's readers make the same name.
        _write(path, (json.dumps(document, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))


def write_mask_in_parts(
    path: Path,
    blocks: Iterable[tuple[int, int, Pixels]],
    size: tuple[int, int],
    palette: Sequence[tuple[int, int, int]],
) -> None:
    """Write labels as a tiled TIFF with the classes' colours; only some rows are held at a time.

    Args:
        path: The file.
        blocks: Top, left and labels of parts, from left to right in rows of parts of one height.
        size: Height and width of the mask.
        palette: Colours by label.
    """
    from tifffile import TiffWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    colours = _table(palette).T.astype(np.uint16) * 257
    with naming(path), replacing(path) as file, TiffWriter(file, bigtiff=size[0] * size[1] > BIG) as tiff:
        tiff.write(
            _tiles(_rows(blocks, size[1]), size),
            shape=size,
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric="palette",
            colormap=colours,
            compression="zlib",
            maxworkers=1,
            metadata=None,
        )


def _rows(blocks: Iterable[tuple[int, int, Pixels]], width: int) -> Iterator[Pixels]:
    """Yield rows of parts as arrays of the whole width."""
    row: Pixels | None = None
    for _, left, labels in blocks:
        if left == 0:
            if row is not None:
                yield row
            row = np.empty((labels.shape[0], width), np.uint8)
        if row is not None:
            row[:, left : left + labels.shape[1]] = labels
    if row is not None:
        yield row


def _tiles(rows: Iterable[Pixels], size: tuple[int, int]) -> Iterator[Pixels]:
    """Yield the tiles of an image from left to right and from top to bottom; those at the edges are filled up."""
    width = -(-size[1] // TILE) * TILE
    held = np.zeros((0, width), np.uint8)
    done = 0
    for row in rows:
        held = np.concatenate([held, np.pad(row, ((0, 0), (0, width - size[1])))])
        done += len(row)
        if done == size[0]:
            held = np.pad(held, ((0, -len(held) % TILE), (0, 0)))
        while len(held) >= TILE:
            for left in range(0, width, TILE):
                yield np.ascontiguousarray(held[:TILE, left : left + TILE])
            held = held[TILE:]


def _table(palette: Sequence[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Return the colours of all 256 values."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return table


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
