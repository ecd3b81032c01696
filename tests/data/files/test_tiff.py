"""TIFFs of any number of bands are read exactly, or refused with a reason."""

from __future__ import annotations

import logging
import struct
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from segzoo.data.files.images import read_image, read_mask
from segzoo.data.files.tiff import is_tiff, quiet_tifffile, to_bytes
from segzoo.data.findings import FileFault

SHAPE = (20, 30)


def noise(bands: int, dtype: Any = np.uint8) -> NDArray[Any]:
    """Return random values ``(20, 30, bands)`` over the whole range of a type."""
    values = np.random.default_rng(bands).integers(0, np.iinfo(dtype).max, (*SHAPE, bands), dtype, endpoint=True)
    return np.asarray(values)


def write(path: Path, values: NDArray[Any], *, planar: bool = False, **options: Any) -> Path:
    """Write values ``(H, W, bands)`` as one page and return the path."""
    stored = np.moveaxis(values, -1, 0) if planar else values
    options = {"photometric": "minisblack", "planarconfig": "separate" if planar else "contig", **options}
    tifffile.imwrite(path, stored, **options)
    return path


def fault_of(path: Path, **options: Any) -> tuple[str, str]:
    """Return the kind and the message of the fault that a file has."""
    with pytest.raises(FileFault) as caught:
        read_image(path, **options)
    assert caught.value.finding.file == str(path)
    return caught.value.finding.kind, caught.value.finding.message


@pytest.mark.parametrize("bands", [2, 3, 4, 5, 13])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", [False, True])
def test_bands_keep_their_values(tmp_path: Path, bands: int, dtype: Any, planar: bool) -> None:
    """Bands keep their order and their bytes, pixel by pixel and plane by plane; 16 bits are divided by 257."""
    values = noise(bands, dtype)
    image = read_image(write(tmp_path / "a.tif", values, planar=planar), channels=bands)
    expected = values if dtype is np.uint8 else np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(image, expected)
    assert (image.dtype, image.flags.writeable, image.flags.c_contiguous) == (np.uint8, True, True)


@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": ">"},
        {"bigtiff": True},
        {"rowsperstrip": 7},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"compression": "zlib", "predictor": True, "tile": (16, 16)},
        {"compression": "lzma", "tile": (16, 32)},
        {"photometric": "rgb"},
    ],
)
@pytest.mark.parametrize("planar", [False, True])
def test_layouts(tmp_path: Path, options: dict[str, Any], planar: bool) -> None:
    """Strips, tiles, byte orders, predictors and the compressions that Python itself brings are read."""
    values = noise(5, np.uint16)
    image = read_image(write(tmp_path / "a.tif", values, planar=planar, **options), channels=5)
    np.testing.assert_array_equal(image, to_bytes(values))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_of_three_bands_are_not_the_first_one_alone(tmp_path: Path, dtype: Any, options: dict[str, Any]) -> None:
    """Three planes that no tag calls red, green and blue are read as such; Pillow alone would show the first."""
    values = noise(3, dtype)
    image = read_image(write(tmp_path / "a.tif", values, planar=True, **options))
    np.testing.assert_array_equal(image, to_bytes(values))


def test_fourth_band_is_kept_whatever_it_means(tmp_path: Path) -> None:
    """Colours are not divided by an alpha that they were multiplied with, nor is a band of no meaning dropped."""
    values = noise(4)
    for meaning in ("unspecified", "assocalpha", "unassalpha"):
        path = write(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[meaning])
        np.testing.assert_array_equal(read_image(path, channels=4), values)


def test_compression_that_pillow_knows(tmp_path: Path) -> None:
    """RGBA is read under compressions that tifffile cannot read alone."""
    values = noise(4)
    Image.fromarray(values, "RGBA").save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=4), values)


@pytest.mark.skipif(find_spec("imagecodecs") is not None, reason="imagecodecs is installed and reads it")
def test_compression_that_needs_another_package(tmp_path: Path) -> None:
    """The message says which package reads the compression and how to do without."""
    Image.fromarray(noise(4), "RGBX").save(tmp_path / "a.tif", compression="tiff_lzw")
    kind, message = fault_of(tmp_path / "a.tif", channels=4)
    assert kind == "unsupported"
    assert message.startswith("LZW compression needs another package (pip install imagecodecs)")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_orientation_is_that_of_the_mask(tmp_path: Path, orientation: int, photometric: str) -> None:
    """Bands are turned as a grey mask with the same orientation is, whichever library reads them."""
    values = noise(4)
    tag = [(274, "H", 1, orientation, True)]
    image = read_image(write(tmp_path / "a.tif", values, photometric=photometric, extratags=tag), channels=4)
    tifffile.imwrite(tmp_path / "m.tif", values[..., 2], extratags=tag)
    mask = read_mask(tmp_path / "m.tif", "index", ())
    np.testing.assert_array_equal(image[..., 2], mask)
    assert mask.shape == (SHAPE[::-1] if orientation > 4 else SHAPE)
    first = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (-1, 0), 7: (-1, -1), 8: (0, -1)}
    np.testing.assert_array_equal(image[0, 0], values[first[orientation]])


@pytest.mark.parametrize(("bands", "channels"), [(5, 3), (5, 1), (5, 13), (13, 5), (3, 4), (4, 5), (2, 4), (1, 2)])
def test_other_number_of_bands(tmp_path: Path, bands: int, channels: int) -> None:
    """The message names both numbers, and no band is dropped or repeated."""
    values = noise(bands) if bands > 1 else noise(1)[..., 0]
    path = write(tmp_path / "a.tif", values, **({} if bands > 1 else {"planarconfig": None}))
    kind, message = fault_of(path, channels=channels)
    assert kind == "unsupported"
    plural = "s" if bands > 1 else ""
    assert message.startswith(f"it has {bands} band{plural} where model.in_channels is {channels}; set ")


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint32, np.int8])
def test_values_without_a_rule(tmp_path: Path, dtype: Any) -> None:
    """What has no fixed range from 0 on is not scaled by guess."""
    kind, message = fault_of(write(tmp_path / "a.tif", np.zeros((*SHAPE, 5), dtype)), channels=5)
    assert kind == "unsupported"
    assert f"{np.dtype(dtype).itemsize * 8} bits" in message
    assert "only unsigned integers of 8 and 16 bits are read" in message


def test_inks_are_not_bands(tmp_path: Path) -> None:
    """Four inks are no RGBA; as RGB they are read, since that is a known rule."""
    path = write(tmp_path / "a.tif", noise(4), photometric="separated")
    assert fault_of(path, channels=4) == (
        "unsupported",
        "bands of the photometric interpretation SEPARATED are not converted",
    )
    assert read_image(path).shape == (*SHAPE, 3)


@pytest.mark.parametrize("channels", [3, 5])
def test_pages_are_no_bands(tmp_path: Path, channels: int) -> None:
    """A stack of pages, of one band or of five each, and a volume are refused."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, *SHAPE), np.uint8), photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((2, *SHAPE, 5), np.uint8), planarconfig="contig")
    volume = np.zeros((2, 32, 32, 5), np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", volume, planarconfig="contig", volumetric=True, tile=(16, 16, 16))
    for name, pages in (("a", 5), ("b", 2)):
        expected = ("unsupported", f"it has {pages} frames or pages; only single images are read")
        assert fault_of(tmp_path / f"{name}.tif", channels=channels) == expected
    assert fault_of(tmp_path / "c.tif", channels=channels)[0] == "unsupported"


def test_page_that_follows_itself(tmp_path: Path) -> None:
    """A chain of pages that is a loop ends."""
    path = write(tmp_path / "a.tif", noise(5))
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (tags,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * tags, first)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path, channels=5), noise(5))


@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 7}, {"compression": "zlib", "tile": (16, 16)}])
@pytest.mark.parametrize("planar", [False, True])
def test_truncated_files(tmp_path: Path, planar: bool, options: dict[str, Any]) -> None:
    """Wherever a file is cut, nothing is made up for what is missing."""
    content = write(tmp_path / "a.tif", noise(5), planar=planar, **options).read_bytes()
    for length in range(1, len(content), 23):
        (tmp_path / "b.tif").write_bytes(content[:length])
        kind, message = fault_of(tmp_path / "b.tif", channels=5)
        assert kind == "unreadable"
        assert "truncated or damaged" in message or "not an image" in message


def test_missing_strips_are_noticed(tmp_path: Path) -> None:
    """A header that lists fewer strips than the image has is damaged: tifffile would fill with zeros."""
    path = write(tmp_path / "a.tif", noise(5), rowsperstrip=5, compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        height = tiff.pages.first.tags["ImageLength"]
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, height.valueoffset, 40)
    path.write_bytes(content)
    kind, message = fault_of(path, channels=5)
    assert (kind, message) == ("unreadable", "the file is truncated or damaged (parts of the image are missing)")


def test_limit_on_pixels(tmp_path: Path) -> None:
    """The limit counts pixels, not bands, and before anything is decoded."""
    path = write(tmp_path / "a.tif", noise(5))
    expected = ("too_large", "30x20 pixels are more than the limit of 599")
    assert fault_of(path, channels=5, max_pixels=599) == expected
    assert read_image(path, channels=5, max_pixels=600).shape == (*SHAPE, 5)


def test_large_tiffs_are_not_warned_of(tmp_path: Path) -> None:
    """Between Pillow's limit and ours nothing is said of TIFFs either; a warning would fail this test."""
    Image.new("1", (9_500, 9_500)).save(tmp_path / "a.tif", compression="group4")
    assert read_image(tmp_path / "a.tif", channels=1).shape == (9_500, 9_500, 1)


def test_masks_in_planes(tmp_path: Path) -> None:
    """A mask in planes is refused, not read by its first one."""
    path = write(tmp_path / "a.tif", noise(3), planar=True, compression="zlib")
    with pytest.raises(FileFault, match="its 3 bands are no mask: a mask has one band of labels") as caught:
        read_mask(path, "index", ())
    assert caught.value.finding.kind == "colour_mask"


def test_nothing_is_said_on_the_side(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither Pillow, of too many bands, nor tifffile, of damage, logs anything; the next reader hears them again."""
    read_image(write(tmp_path / "a.tif", noise(13)), channels=13)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(content[: len(content) // 2])
    fault_of(tmp_path / "b.tif", channels=13)
    assert not caplog.records
    with quiet_tifffile():
        logging.getLogger("tifffile").error("unheard")
    logging.getLogger("tifffile").error("heard")
    assert [record.message for record in caplog.records] == ["heard"]


def test_threads_read_at_once(tmp_path: Path) -> None:
    """The scan reads in threads."""
    path = write(tmp_path / "a.tif", noise(13, np.uint16))
    results: list[NDArray[np.uint8]] = []
    threads = [threading.Thread(target=lambda: results.append(read_image(path, channels=13))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(np.array_equal(result, to_bytes(noise(13, np.uint16))) for result in results)


def test_to_bytes() -> None:
    """Both ends are kept, the middle is rounded, bytes stay."""
    assert to_bytes(np.array([0, 128, 129, 257, 32896, 65535], np.uint16)).tolist() == [0, 0, 1, 1, 128, 255]
    assert to_bytes(np.array([0, 255], np.uint8)).tolist() == [0, 255]


def test_is_tiff(tmp_path: Path) -> None:
    """Classic and big TIFFs of both byte orders are told by their first bytes, not by their suffix."""
    for options in ({}, {"byteorder": ">"}, {"bigtiff": True}, {"bigtiff": True, "byteorder": ">"}):
        assert is_tiff(write(tmp_path / "a.png", noise(2), **options))
    Image.new("L", (4, 4)).save(tmp_path / "b.png")
    assert not is_tiff(tmp_path / "b.png")


def test_other_images_need_no_tifffile() -> None:
    """Training on data of other formats runs where tifffile cannot be imported."""
    code = "import sys; sys.modules['tifffile'] = None; import segzoo.training.session, segzoo.inference.predict"
    subprocess.run([sys.executable, "-c", code], check=True)
