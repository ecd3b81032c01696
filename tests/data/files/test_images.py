"""Every kind of file is read by known rules or refused with a reason."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segzoo.data.files.images import MaskMode, read_image, read_mask, visible
from segzoo.data.findings import FileFault
from segzoo.errors import DataError
from segzoo.recipe.data import ClassEntry

CLASSES = (
    ClassEntry(name="ground", color=(0, 0, 0)),
    ClassEntry(name="tree", color=(0, 128, 0)),
    ClassEntry(name="car", color=(64, 0, 128)),
)
GRADIENT = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def save(path: Path, pixels: Any, **options: Any) -> Path:
    """Write pixels as an image file and return its path."""
    Image.fromarray(np.asarray(pixels)).save(path, **options)
    return path


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """Return a PNG file made by hand, for headers that Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def rotated(pixels: Any, orientation: int, **options: Any) -> bytes:
    """Return a PNG whose EXIF says how it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, "PNG", exif=exif, **options)
    return buffer.getvalue()


def test_rgb_is_read_as_it_is(tmp_path: Path) -> None:
    """Colour images keep their values, in the order red, green, blue, and may be written to."""
    pixels = np.dstack([GRADIENT, GRADIENT + 1, GRADIENT + 2])
    image = read_image(save(tmp_path / "a.png", pixels))
    np.testing.assert_array_equal(image, pixels)
    assert (image.dtype, image.flags.writeable, image.flags.c_contiguous) == (np.uint8, True, True)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "CMYK"])
def test_other_kinds_become_rgb(tmp_path: Path, mode: str) -> None:
    """Grey, palette, alpha and CMYK images become what they look like; alpha is dropped."""
    black_white = np.where(GRADIENT > 100, 255, 0).astype(np.uint8)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(black_white).convert("RGB").convert(mode).save(path)
    np.testing.assert_array_equal(read_image(path), np.dstack([black_white] * 3))


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_one_channel_is_grey(tmp_path: Path, mode: str) -> None:
    """Every kind of image becomes one band of what it looks like."""
    black_white = np.where(GRADIENT > 100, 255, 0).astype(np.uint8)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(black_white).convert("RGB").convert(mode).save(path)
    image = read_image(path, channels=1)
    np.testing.assert_array_equal(image, black_white[..., None])
    assert (image.dtype, image.flags.writeable, image.flags.c_contiguous) == (np.uint8, True, True)


def test_colours_become_their_luma(tmp_path: Path) -> None:
    """Red, green and blue count 0.299, 0.587 and 0.114; alpha counts nothing; a palette is looked up first."""
    colors = np.array([[(200, 0, 0), (0, 200, 0), (0, 0, 200), (10, 20, 30)]], np.uint8)
    expected = np.array([[60, 117, 23, 18]])[..., None]
    assert np.array_equal(read_image(save(tmp_path / "a.png", colors), channels=1), expected)
    with_alpha = np.dstack([colors, np.zeros((1, 4), np.uint8)])
    assert np.array_equal(read_image(save(tmp_path / "b.png", with_alpha), channels=1), expected)
    palette = Image.fromarray(np.arange(4, dtype=np.uint8)[None]).convert("P")
    palette.putpalette(colors.tobytes())
    palette.putdata([0, 1, 2, 3])
    palette.save(tmp_path / "p.png")
    assert np.array_equal(read_image(tmp_path / "p.png", channels=1), expected)


def test_grey_keeps_its_values(tmp_path: Path) -> None:
    """8-bit grey is not touched and 16-bit grey is divided by 257."""
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", GRADIENT), channels=1)[..., 0], GRADIENT)
    for suffix in ("png", "tif", "pgm"):
        path = save(tmp_path / f"b.{suffix}", np.array([[0, 257, 32896, 65535]], np.uint16))
        assert read_image(path, channels=1)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_alpha_is_the_fourth_channel(tmp_path: Path, suffix: str) -> None:
    """RGBA is kept as it is, colour under full transparency too."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 0)
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    image = read_image(save(tmp_path / f"a.{suffix}", pixels, **options), channels=4)
    np.testing.assert_array_equal(image, pixels)


def test_palettes_with_transparency_have_four_channels(tmp_path: Path) -> None:
    """Their colours are looked up together with the alpha."""
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 40, 50, 60])
    palette.save(tmp_path / "p.png", transparency=b"\xff\x07")
    assert read_image(tmp_path / "p.png", channels=4)[0, 0].tolist() == [40, 50, 60, 7]


@pytest.mark.parametrize(
    ("mode", "bands", "channels"),
    [("RGB", 3, 4), ("P", 3, 4), ("CMYK", 3, 4), ("L", 1, 4), ("LA", 2, 4), ("RGB", 3, 5), ("RGBA", 4, 5), ("L", 1, 2)],
)
def test_bands_that_are_not_there_are_not_made_up(tmp_path: Path, mode: str, bands: int, channels: int) -> None:
    """The message names both numbers and the way out."""
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(GRADIENT).convert("RGB").convert(mode).save(path)
    with pytest.raises(FileFault) as caught:
        read_image(path, channels=channels)
    assert caught.value.finding == (
        "unsupported",
        str(path),
        f"it has {bands} band{'s' if bands > 1 else ''} where model.in_channels is {channels}; "
        f"set model.in_channels to {bands} if all images are like this one",
    )


def test_grey_with_alpha_has_two_channels(tmp_path: Path) -> None:
    """Any number of bands is kept where that many are asked for."""
    pixels = np.dstack([GRADIENT, 255 - GRADIENT])
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", pixels), channels=2), pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_what_is_shown_of_an_image(channels: int) -> None:
    """One or two channels are shown as grey, the first three of more as colours."""
    image = np.random.default_rng(0).integers(0, 256, (6, 8, channels), np.uint8)
    shown = visible(image)
    assert shown.shape == (6, 8, 3)
    for channel in range(3):
        np.testing.assert_array_equal(shown[..., channel], image[..., channel if channels > 2 else 0])


def test_transparent_pixels_keep_their_color(tmp_path: Path) -> None:
    """Alpha is dropped, not blended: colour under full transparency stays."""
    pixels = np.full((4, 4, 4), (10, 20, 30, 0), np.uint8)
    assert read_image(save(tmp_path / "a.png", pixels))[0, 0].tolist() == [10, 20, 30]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 40, 50, 60])
    palette.save(tmp_path / "p.png", transparency=b"\x00\x00")
    assert read_image(tmp_path / "p.png")[0, 0].tolist() == [40, 50, 60]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled(tmp_path: Path, suffix: str) -> None:
    """16-bit grey is divided by 257: no saturation, both ends are kept."""
    pixels = np.array([[0, 257, 32896, 65535]], np.uint16)
    image = read_image(save(tmp_path / f"a.{suffix}", pixels))
    assert image[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)])
def test_kinds_without_a_rule_are_refused(tmp_path: Path, pixels: Any) -> None:
    """What has no fixed range is not scaled by guess."""
    with pytest.raises(DataError, match=r"a\.tif: images of Pillow's mode '[FI]' are not converted"):
        read_image(save(tmp_path / "a.tif", pixels))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_both(tmp_path: Path, orientation: int) -> None:
    """An image and a mask with one EXIF orientation are turned alike."""
    (tmp_path / "image.png").write_bytes(rotated(np.dstack([GRADIENT] * 3), orientation))
    (tmp_path / "mask.png").write_bytes(rotated(GRADIENT, orientation))
    image, mask = read_image(tmp_path / "image.png"), read_mask(tmp_path / "mask.png", "index", ())
    np.testing.assert_array_equal(image[..., 0], mask)
    assert mask.shape == ((8, 6) if orientation > 4 else (6, 8))
    assert (mask[0, 0] == GRADIENT[0, 0]) == (orientation in (1, 5))


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_of_palette_masks(tmp_path: Path, orientation: int) -> None:
    """Turning a palette mask keeps its indices."""
    mask = Image.fromarray(GRADIENT // 20).convert("P")
    exif = Image.Exif()
    exif[0x0112] = orientation
    mask.putpalette(range(90))
    mask.save(tmp_path / "a.png", exif=exif)
    stored = np.array(mask)
    turned = np.rot90(stored, {3: 2, 6: -1}[orientation])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", "palette", ()), turned)


@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_tiffs(tmp_path: Path, orientation: int, compression: str) -> None:
    """A TIFF on its side is turned, not read with its width for its height, as a mapped one would be."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GRADIENT).save(tmp_path / "a.tif", exif=exif, compression=compression)
    (tmp_path / "a.png").write_bytes(rotated(GRADIENT, orientation))
    expected = read_mask(tmp_path / "a.png", "index", ())
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif", "index", ()), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=1)[..., 0], expected)


FAULTS = {
    "empty": (lambda data: b"", "the file is empty"),
    "zeros": (lambda data: bytes(1000), "not an image"),
    "text": (lambda data: b"hello", "not an image"),
    "cut": (lambda data: data[: len(data) // 2], "truncated or damaged"),
    "cut at the end": (lambda data: data[:-30], "truncated or damaged"),
    "header only": (lambda data: data[:60], "not an image|truncated or damaged"),
}


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_files(tmp_path: Path, suffix: str, fault: str) -> None:
    """Damage anywhere in the file is noticed, since it is decoded whole, and the file is named."""
    change, reason = FAULTS[fault]
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    path = save(tmp_path / f"a.{suffix}", noise)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=rf"a\.{suffix}: .*({reason})"):
        read_image(path)


def test_flipped_bits_never_escape(tmp_path: Path) -> None:
    """Whatever a damaged PNG does to the decoder, the user gets a DataError or an image."""
    data = save(tmp_path / "a.png", np.dstack([GRADIENT] * 3)).read_bytes()
    outcomes = set()
    for position in range(8, len(data)):
        (tmp_path / "b.png").write_bytes(data[:position] + bytes([data[position] ^ 0x21]) + data[position + 1 :])
        try:
            read_image(tmp_path / "b.png")
            outcomes.add("read")
        except DataError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_missing_files_and_folders(tmp_path: Path) -> None:
    """The system's reason is told with the path."""
    with pytest.raises(DataError, match=r"a\.png: No such file"):
        read_image(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(DataError, match=r"b\.png: Is a directory"):
        read_image(tmp_path / "b.png")


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """A pipe is not waited for, and links that lead to each other end."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png: it is not a regular file"):
        read_image(tmp_path / "pipe.png")
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: Too many levels of symbolic links"):
        read_image(tmp_path / "a.png")


def kind_of(path: Path, mode: MaskMode | None = None, **options: Any) -> str:
    """Return the kind of fault of an image, or of a mask where its mode is given."""
    with pytest.raises(FileFault) as caught:
        read_image(path, **options) if mode is None else read_mask(path, mode, CLASSES, **options)
    assert str(caught.value) == f"{path}: {caught.value.finding.message}"
    return caught.value.finding.kind


def test_kinds_of_faults(tmp_path: Path) -> None:
    """Each refusal says of which kind it is, so that the faults of many files can be counted."""
    grey = save(tmp_path / "grey.png", GRADIENT)
    color = save(tmp_path / "color.png", np.dstack([GRADIENT] * 3))
    wide = save(tmp_path / "wide.png", np.array([[0, 300]], np.uint16))
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    assert kind_of(tmp_path / "absent.png") == "unreadable"
    assert kind_of(tmp_path / "empty.png") == "unreadable"
    assert kind_of(tmp_path / "text.png") == "unreadable"
    assert kind_of(grey, max_pixels=9) == kind_of(grey, "index", max_pixels=9) == "too_large"
    assert kind_of(save(tmp_path / "a.tif", np.zeros((4, 4), np.float32))) == "unsupported"
    assert kind_of(save(tmp_path / "a.jpg", GRADIENT), "index") == "unsupported"
    assert kind_of(grey, "palette") == "unsupported"
    assert kind_of(color, "index") == "colour_mask"
    assert kind_of(color, "rgb") == kind_of(grey, "binary") == "unknown_colour"
    assert kind_of(wide, "index") == "label_outside_classes"


def test_other_formats_are_refused(tmp_path: Path) -> None:
    """Formats beside the usual ones are not opened: one of Pillow's readers runs a program."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    with pytest.raises(DataError, match="none of the formats BMP"):
        read_image(tmp_path / "a.eps")


def test_promise_of_gigapixels_is_refused_unread(tmp_path: Path) -> None:
    """A header with more pixels than the limit is refused before anything is decoded; the limit can be changed."""
    path = tmp_path / "a.png"
    path.write_bytes(png(50_000, 50_000, 8, 0, b""))
    with pytest.raises(DataError, match="50000x50000 pixels are more than the limit of 200,000,000"):
        read_image(path)
    save(path, np.zeros((10, 11), np.uint8))
    with pytest.raises(DataError, match="11x10 pixels are more than the limit of 100"):
        read_image(path, max_pixels=100)
    assert read_image(path, max_pixels=110).shape == (10, 11, 3)


def test_pillow_keeps_its_own_limit(tmp_path: Path) -> None:
    """Between Pillow's limit and ours nothing is said, and Pillow's stays what it was, in threads too."""
    before = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "a.png"
    path.write_bytes(png(10_000, 19_000, 1, 0, b""))
    faults: list[str] = []

    def read() -> None:
        try:
            read_image(path)
        except DataError as error:
            faults.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(faults) == 8
    assert all("truncated or damaged" in fault for fault in faults)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp"])
def test_animations_are_refused(tmp_path: Path, suffix: str) -> None:
    """Which of several frames is meant is not guessed."""
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="3 frames or pages"):
        read_image(tmp_path / f"a.{suffix}")


def test_first_picture_of_a_camera_is_taken(tmp_path: Path) -> None:
    """Cameras put previews behind the picture in one JPEG; that is no animation."""
    frames = [Image.new("RGB", size, (200, 0, 0)) for size in ((16, 8), (4, 4))]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.jpg").shape == (8, 16, 3)


def test_index_masks(tmp_path: Path) -> None:
    """Grey values are labels, whatever the classes; palette masks give indices, not what the palette shows."""
    labels = GRADIENT // 20
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", labels), "index", CLASSES), labels)
    image = Image.fromarray(labels).convert("P")
    image.putdata(labels.ravel().tolist())
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    image.save(tmp_path / "p.png")
    for mode in ("index", "palette"):
        np.testing.assert_array_equal(read_mask(tmp_path / "p.png", mode, CLASSES), labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_labels_of_few_bits(tmp_path: Path, depth: int) -> None:
    """Grey masks of 1, 2 and 4 bits hold labels too: Pillow spreads them over 0 to 255, we take that back."""
    labels = np.arange(8) % 2**depth
    bits = "".join(format(label, f"0{depth}b") for label in labels)
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")
    (tmp_path / "a.png").write_bytes(png(8, 2, depth, 0, (b"\0" + row) * 2))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", "index", ()), [labels, labels])


def test_sixteen_bit_masks(tmp_path: Path) -> None:
    """16-bit masks are read where their labels fit a byte, and else refused with the range."""
    labels = np.array([[0, 3, 255]], np.uint16)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", labels), "index", ()), labels)
    with pytest.raises(DataError, match="values from 0 to 300, but labels are 0 to 255"):
        read_mask(save(tmp_path / "a.png", np.array([[0, 300]], np.uint16)), "index", ())
    with pytest.raises(DataError, match="values from -1 to 2"):
        read_mask(save(tmp_path / "a.tif", np.array([[-1, 2]], np.int32)), "index", ())


@pytest.mark.parametrize("mode", ["index", "palette"])
@pytest.mark.parametrize("kind", ["RGB", "RGBA"])
def test_color_mask_where_labels_are_expected(tmp_path: Path, mode: MaskMode, kind: str) -> None:
    """A colour mask is refused, also where its channels are equal, with the mode that reads it."""
    Image.fromarray(GRADIENT).convert(kind).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a\.png: a colour mask \({kind}\) .*mask_mode 'rgb'"):
        read_mask(tmp_path / "a.png", mode, CLASSES)


def test_palette_mode_insists(tmp_path: Path) -> None:
    """Who asks for a palette is told where there is none."""
    with pytest.raises(DataError, match="it has no palette"):
        read_mask(save(tmp_path / "a.png", GRADIENT), "palette", CLASSES)


def test_rgb_masks(tmp_path: Path) -> None:
    """Each colour becomes the label of its class, with and without alpha; an unknown one is named."""
    labels = np.array([[0, 1, 2], [2, 1, 0]])
    colors = np.array([entry.color for entry in CLASSES], np.uint8)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", colors[labels]), "rgb", CLASSES), labels)
    Image.fromarray(colors[labels]).convert("RGBA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "b.png", "rgb", CLASSES), labels)
    pixels = colors[labels]
    pixels[1, 2] = (64, 0, 129)
    with pytest.raises(DataError, match=r"a\.png: the colour \(64, 0, 129\) belongs to no class"):
        read_mask(save(tmp_path / "a.png", pixels), "rgb", CLASSES)


@pytest.mark.parametrize("kind", ["L", "1", "RGB", "P"])
def test_binary_masks(tmp_path: Path, kind: str) -> None:
    """Black is 0 and white is 1 however they are stored."""
    labels = (GRADIENT > 100).astype(np.uint8)
    Image.fromarray(labels * 255).convert(kind).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", "binary", CLASSES), labels)


def test_binary_masks_hold_nothing_else(tmp_path: Path) -> None:
    """Labels 0 and 1 are no black and white; the message says which mode reads them."""
    with pytest.raises(DataError, match=r"\(1, 1, 1\) is neither black nor white; mask_mode 'index'"):
        read_mask(save(tmp_path / "a.png", (GRADIENT > 100).astype(np.uint8)), "binary", CLASSES)


@pytest.mark.parametrize("mode", ["index", "palette", "rgb", "binary"])
def test_jpeg_masks_are_refused(tmp_path: Path, mode: MaskMode) -> None:
    """A JPEG changes values around every border."""
    with pytest.raises(DataError, match="a JPEG changes values"):
        read_mask(save(tmp_path / "a.jpg", GRADIENT), mode, CLASSES)
