"""What the quicker decoder returns is what Pillow gives; where there could be a difference it returns nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from segzoo.data.files import quick
from segzoo.data.files.images import read_image, read_mask
from segzoo.data.files.quick import quick_image, quick_mask
from segzoo.data.formats.files import after_scan
from segzoo.data.opening import open_source
from segzoo.data.source import Pixels
from segzoo.errors import DataError
from segzoo.recipe.data import ClassEntry, FolderData, ShapesData

pytestmark = pytest.mark.skipif(
    not quick._jpegs_agree(), reason="OpenCV and Pillow were built with other JPEG libraries"
)


def make_image(height: int = 45, width: int = 61, mode: str = "RGB") -> Image.Image:
    """Return soft noise."""
    noise = np.random.default_rng(height).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def make_mask(height: int = 45, width: int = 61) -> Image.Image:
    """Return blocks of labels."""
    blocks = np.random.default_rng(height).integers(0, 12, (height // 8 + 1, width // 8 + 1), np.uint8)
    return Image.fromarray(blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width])


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    """Write an image and return where."""
    image.save(path, **options)
    return path


@pytest.mark.parametrize("size", [(45, 61), (1, 1), (16, 16), (3, 200), (130, 97)])
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1}),
        ("RGB", {"subsampling": 2, "quality": 30}),
        ("RGB", {"optimize": True, "comment": b"hello", "icc_profile": b"x" * 500}),
        ("RGB", {"restart_marker_rows": 1}),
    ],
)
def test_plain_jpegs_equal_those_of_pillow(
    tmp_path: Path, mode: str, options: dict[str, Any], size: tuple[int, int]
) -> None:
    """Grey and colour JPEGs of every sampling, with restarts, comments and profiles, come back bit for bit."""
    path = save(make_image(*size, mode=mode), tmp_path / "a b ü.JPG", format="JPEG", **options)
    pixels = quick_image(path)
    assert pixels is not None
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, read_image(path))


def exif(orientation: int) -> Image.Exif:
    """Return EXIF data with an orientation."""
    data = Image.Exif()
    data[0x0112] = orientation
    return data


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("progressive.jpg", "RGB", {"progressive": True}),
        ("turned.jpg", "RGB", {"exif": exif(6)}),
        ("upright.jpg", "RGB", {"exif": exif(1)}),
        ("print.jpg", "CMYK", {}),
        ("image.png", "RGB", {}),
        ("named.jpg", "RGB", {"format": "PNG"}),
    ],
)
def test_other_images_are_left_to_pillow(tmp_path: Path, name: str, mode: str, options: dict[str, Any]) -> None:
    """What may be turned, converted or decoded in another way is not touched."""
    path = save(make_image(mode=mode), tmp_path / name, **options)
    assert quick_image(path) is None
    assert read_image(path).shape[2] == 3


def test_what_cannot_be_read_is_left_to_pillow(tmp_path: Path) -> None:
    """A file that is missing, empty or a folder is told of by the one who reads it next."""
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "empty.png").touch()
    assert [quick_image(tmp_path / name) for name in ("none.jpg", "folder.jpg", "empty.jpg")] == [None] * 3
    assert [quick_mask(tmp_path / name) for name in ("none.png", "empty.png")] == [None] * 2


@pytest.mark.parametrize("library", ["pillow", "opencv"])
@pytest.mark.parametrize("size", [(45, 61), (1, 1), (3, 200)])
def test_grey_pngs_equal_those_of_pillow(tmp_path: Path, size: tuple[int, int], library: str) -> None:
    """Masks of grey bytes come back bit for bit, whoever wrote them."""
    path = tmp_path / "a.PNG"
    if library == "pillow":
        save(make_mask(*size), path, dpi=(72, 72))
    else:
        cv2.imwrite(str(path), np.array(make_mask(*size)))
    labels = quick_mask(path)
    assert labels is not None
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, read_mask(path, "index", ()))


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("palette.png", "P", {}),
        ("bits.png", "1", {}),
        ("two.png", "P", {"bits": 2}),
        ("deep.png", "I;16", {}),
        ("alpha.png", "LA", {}),
        ("clear.png", "L", {"transparency": 3}),
        ("turned.png", "L", {"exif": exif(6)}),
        ("mask.bmp", "L", {}),
        ("named.png", "L", {"format": "BMP"}),
    ],
)
def test_other_masks_are_left_to_pillow(tmp_path: Path, name: str, mode: str, options: dict[str, Any]) -> None:
    """Palettes, other depths, alpha and an orientation are not touched."""
    path = save(make_mask().convert(mode), tmp_path / name, **options)
    assert quick_mask(path) is None
    assert read_mask(path, "index", ()).ndim == 2


@pytest.mark.parametrize("cut", [0, 1, 2, 10, 100, -2, -1])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_cut_files_are_left_to_pillow(tmp_path: Path, name: str, cut: int) -> None:
    """A file that lost its end, or gained one, since it was scanned is refused by Pillow or read by it."""
    path = save(make_image() if name == "a.jpg" else make_mask(), tmp_path / name)
    path.write_bytes(path.read_bytes()[:cut])
    assert (quick_image if name == "a.jpg" else quick_mask)(path) is None
    path.write_bytes(save(make_mask(), tmp_path / name).read_bytes() + b"\0")
    assert (quick_image if name == "a.jpg" else quick_mask)(path) is None


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with some bytes changed, taken away or put in."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(data) - 3))
        match rng.integers(4):
            case 0:
                data[place] ^= 1 << int(rng.integers(8))
            case 1:
                data[place] = int(rng.choice([0, 255, 0xC0, 0xC2, 0xD9, 0xDA, 0xE1]))
            case 2:
                del data[place : place + int(rng.integers(1, 30))]
            case _:
                data[place:place] = rng.bytes(int(rng.integers(1, 30)))
    return bytes(data)


def test_damaged_files_never_differ(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever happens to a file: where Pillow still reads it, the same comes back, or nothing."""
    rng = np.random.default_rng(0)
    jpegs = [io.BytesIO() for _ in range(3)]
    for sampling, file in enumerate(jpegs):
        make_image().save(file, "JPEG", subsampling=sampling)
    png = io.BytesIO()
    make_mask().save(png, "PNG")
    equal = 0
    for number in range(400):
        path = tmp_path / ("a.png" if number % 4 == 3 else "a.jpg")
        path.write_bytes(damage((png if number % 4 == 3 else jpegs[number % 4]).getvalue(), rng))
        quickly, slowly = (attempt(path, way) for way in ("quick", "pillow"))
        if quickly is not None and slowly is not None:
            np.testing.assert_array_equal(quickly, slowly)
            equal += 1
    capfd.readouterr()  # the libraries write what they find
    assert equal > 50


def attempt(path: Path, way: str) -> Pixels | None:
    """Read a file one way or the other; None is a refusal."""
    if way == "quick":
        return (quick_image if path.suffix == ".jpg" else quick_mask)(path)
    try:
        return read_image(path) if path.suffix == ".jpg" else read_mask(path, "index", ())
    except DataError:
        return None


def test_libraries_that_differ_leave_everything_to_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenCV was built with a library that rounds in another way, no JPEG is read with it."""
    path = save(make_image(), tmp_path / "a.jpg")
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: decode(*arguments) ^ 1)
    quick._jpegs_agree.cache_clear()
    try:
        assert quick_image(path) is None
    finally:
        quick._jpegs_agree.cache_clear()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_scanned_source_reads_the_same(tmp_path: Path, channels: int) -> None:
    """Files of all kinds are read as before; one that was cut since is refused."""
    for kind in ("images", "masks"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    for number, options in enumerate(({}, {"progressive": True}, {"exif": exif(6)})):
        save(make_image(), tmp_path / f"train/images/{number}.jpg", **options)
        mask = make_mask(*((61, 45) if number == 2 else (45, 61)))
        save(mask.convert("P") if number == 1 else mask, tmp_path / f"train/masks/{number}.png")
    classes = tuple(ClassEntry(name=f"c{label}") for label in range(12))
    data = FolderData(root=str(tmp_path), classes=classes, splits={"train": "train"}, ignore_labels=(3,))
    source = open_source(data, seed=0, in_channels=channels)
    again = after_scan(source)
    for sample in source.splits["train"]:
        for one, other in zip(source.read(sample), again.read(sample), strict=True):
            np.testing.assert_array_equal(one, other)
    assert again.settings == source.settings
    path = tmp_path / "train/images/0.jpg"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"0\.jpg: .*truncated"):
        again.read(source.splits["train"][0])


def test_scenes_are_drawn_as_before() -> None:
    """A source without files stays as it is."""
    source = open_source(ShapesData(size=(24, 32), counts={"train": 1, "val": 1}), seed=0)
    assert after_scan(source) is source
