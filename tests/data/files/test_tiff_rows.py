"""Rows of a TIFF are those of the whole image, however it is stored."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from segzoo.data.files.tiff_rows import open_rows
from segzoo.data.findings import FileFault

SIZE = (45, 70)

LAYOUTS: list[dict[str, Any]] = [
    {},
    {"rowsperstrip": 7},
    {"tile": (16, 32)},
    {"compression": "zlib", "rowsperstrip": 100},
    {"compression": "zlib", "rowsperstrip": 7, "predictor": True},
    {"compression": "zlib", "tile": (16, 32), "predictor": True},
]


def write(path: Path, values: np.ndarray, *, separate: bool = False, **layout: Any) -> None:
    """Write an image ``(H, W, bands)``."""
    bands = values.shape[2]
    image = values[..., 0] if bands == 1 else np.moveaxis(values, 2, 0) if separate else values
    planes = {} if bands == 1 else {"planarconfig": "separate" if separate else "contig"}
    photometric = "rgb" if bands in (3, 4) else "minisblack"
    tifffile.imwrite(path, image, photometric=photometric, metadata=None, **planes, **layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("separate", [False, True], ids=["pixels", "planes"])
def test_rows_are_those_of_the_image(tmp_path: Path, layout: dict[str, Any], separate: bool) -> None:
    """Strips and tiles, plain and compressed, pixel by pixel and plane by plane, of both byte orders and widths."""
    rng = np.random.default_rng(0)
    path = tmp_path / "image.tif"
    for bands, order, dtype in product((1, 3, 4, 5), "<>", (np.uint8, np.uint16)):
        values = rng.integers(0, np.iinfo(dtype).max, (*SIZE, bands), dtype=dtype, endpoint=True)
        write(path, values, separate=separate, byteorder=order, **layout)
        expected = values if dtype == np.uint8 else ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if bands < 5:
            expected = np.repeat(expected, 3, axis=2) if bands == 1 else expected[..., :3]
        with open_rows(path, channels=3 if bands < 5 else 5) as rows:
            assert rows.size == SIZE
            for top, bottom in ((0, 20), (11, 33), (20, 45), (0, 45), (44, 45)):
                assert np.array_equal(rows.read(top, bottom), expected[top:bottom]), (bands, order, dtype)


def fault(path: Path, **options: Any) -> str:
    """Return what is said of a file."""
    with pytest.raises(FileFault) as caught, open_rows(path, **{"channels": 3, **options}) as rows:
        rows.read(0, rows.size[0])
    return caught.value.finding.message


def test_damage_is_told(tmp_path: Path) -> None:
    """A file that ends too early, holds nothing, or no TIFF is a fault, whenever it shows."""
    path = tmp_path / "image.tif"
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    for layout in LAYOUTS:
        write(path, image, **layout)
        path.write_bytes(path.read_bytes()[:-900])
        assert "truncated or damaged" in fault(path)
    path.write_bytes(b"")
    assert fault(path) == "the file is empty"
    path.write_bytes(b"II*\0" + bytes(100))
    assert "truncated or damaged" in fault(path)
    assert fault(tmp_path / "none.tif") == "No such file or directory"


def test_kinds_that_are_not_read_in_parts(tmp_path: Path) -> None:
    """Other numbers of bands, turned images, floats and strips that are too large are refused with the way out."""
    path = tmp_path / "image.tif"
    image = np.zeros((*SIZE, 3), np.uint8)
    write(path, image)
    assert "it has 3 bands where model.in_channels is 4" in fault(path, channels=4)
    write(path, image, extratags=[(274, "H", 1, 6, True)])
    assert "it is to be turned (orientation 6); without --window it is read whole" in fault(path)
    write(path, image.astype(np.float32))
    assert "only unsigned integers" in fault(path)
    write(path, image, compression="zlib", rowsperstrip=45)
    assert "70x45 pixels are more than the limit of 1,000" in fault(path, max_pixels=1000)
    tifffile.imwrite(path, np.zeros((2, *SIZE), np.uint8), photometric="minisblack", metadata=None)
    assert "it has 2 frames" in fault(path)
