"""What is rare in a data folder but right is read as it should be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from segzoo.data.opening import list_source
from segzoo.data.source import Pixels
from tests.data.malformed import (
    HEIGHT,
    JPEG,
    PNG,
    WIDTH,
    Tree,
    encode,
    interlaced,
    labels,
    padded,
    palette_mask,
    picture,
    rotated,
    save,
    tiff,
)


def named(name: str) -> Callable[[Tree], Pixels]:
    """Return a case of a good pair with a rare name."""

    def plant(tree: Tree) -> Pixels:
        tree.put(name=name)
        return labels(9)

    return plant


def with_mask(
    mask: Callable[[], bytes], expected: Callable[[], Pixels] = lambda: labels(9)
) -> Callable[[Tree], Pixels]:
    """Return a case of a mask in a rare form."""

    def plant(tree: Tree) -> Pixels:
        tree.put(mask=mask())
        return expected()

    return plant


def with_image(image: Callable[[], bytes], mask: Callable[[], Pixels] = lambda: labels(9)) -> Callable[[Tree], Pixels]:
    """Return a case of an image in a rare form."""

    def plant(tree: Tree) -> Pixels:
        tree.put(image(), mask())
        return mask()

    return plant


def other_suffix(image: str, mask: str) -> Callable[[Tree], Pixels]:
    """Return a case of a pair with other suffixes."""

    def plant(tree: Tree) -> Pixels:
        save(picture(9), tree.images / "bad.png")
        save(labels(9), tree.masks / "bad.png")
        (tree.images / "bad.png").rename(tree.images / f"bad{image}")
        (tree.masks / "bad.png").rename(tree.masks / f"bad{mask}")
        return labels(9)

    return plant


def beside(name: str) -> Callable[[Tree], Pixels]:
    """Return a case of a good pair, with files beside it that are no data."""

    def plant(tree: Tree) -> Pixels:
        for folder in (tree.images, tree.masks):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"no data")
        tree.put()
        return labels(9)

    return plant


def linked(tree: Tree) -> Pixels:
    """Add a pair of links to good files elsewhere."""
    save(picture(9), tree.root / "elsewhere.png")
    save(labels(9), tree.root / "mask.png")
    (tree.images / "bad.png").symlink_to(tree.root / "elsewhere.png")
    (tree.masks / "bad.png").symlink_to(tree.root / "mask.png")
    return labels(9)


def grey_bits(bits: int) -> bytes:
    """Return a mask of labels 0 and 1 in a PNG of so many bits."""
    image = Image.fromarray((labels(9) % 2 * 255).astype(np.uint8)).convert("1")
    return encode(image, "PNG", bits=bits)


READ: dict[str, Callable[[Tree], Pixels]] = {
    "3x5000 pixels": with_image(lambda: encode(picture(9, 5000, 3), "PNG"), lambda: labels(9, 5000, 3)),
    "CMYK JPEG": with_image(lambda: encode(Image.fromarray(picture(9)).convert("CMYK"), "JPEG")),
    "JPEG named .png": with_image(lambda: JPEG),
    "progressive JPEG": with_image(lambda: encode(picture(9), "JPEG", progressive=True)),
    "grey image": with_image(lambda: encode(picture(9)[..., 0], "PNG")),
    "RGBA image": with_image(lambda: encode(np.dstack([picture(9), labels(9)]), "PNG")),
    "16-bit grey image": with_image(lambda: encode(Image.fromarray(picture(9)[..., 0].astype(np.uint16) * 257), "PNG")),
    "palette image with transparency": with_image(
        lambda: encode(Image.fromarray(picture(9)).quantize(200), "PNG", transparency=3)
    ),
    "BMP": with_image(lambda: encode(picture(9), "BMP")),
    "PPM": with_image(lambda: encode(picture(9), "PPM")),
    "WEBP": with_image(lambda: encode(picture(9), "WEBP")),
    "GIF of one frame": with_image(lambda: encode(picture(9), "GIF")),
    "PNG with rubbish after its end": with_image(lambda: PNG + b"rubbish" * 99),
    "interlaced PNG": with_image(interlaced),
    "PNG that unpacks to 100 MB more than its pixels": with_image(padded),
    "EXIF-rotated image, upright mask": with_image(lambda: rotated(picture(9)), lambda: labels(9, WIDTH, HEIGHT)),
    "palette mask": with_mask(lambda: palette_mask(labels(9))),
    "grey mask with alpha": with_mask(lambda: encode(Image.merge("LA", [Image.fromarray(labels(9))] * 2), "PNG")),
    "1-bit mask": with_mask(lambda: grey_bits(1), lambda: labels(9) % 2),
    "16-bit mask of small values": with_mask(lambda: encode(Image.fromarray(labels(9).astype(np.uint16)), "PNG")),
    "TIFF mask": with_mask(lambda: tiff(labels(9))),
    "suffixes in capitals": other_suffix(".PNG", ".PnG"),
    "PNG named .jpg": other_suffix(".jpg", ".jpeg"),
    "hidden files": beside(".DS_Store.png"),
    "hidden folder": beside(".thumbnails/bad.png"),
    "Thumbs.db": beside("Thumbs.db"),
    "a readme": beside("README.txt"),
    "links to files": linked,
    "unicode and spaces in the name": named("zwei Bären 🐻 (1)"),
    "very long name": named("n" * 250),
    "line break in the name": named("two\nlines"),
    "name that is no UTF-8": named(os.fsdecode(b"\xe9t\xe9")),
    "name like an option": named("--help"),
    "name with dots": named("a.b.c"),
    "name with markup": named("[red]a[bold]"),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_rare_but_right_is_read(tree: Tree, check: Callable[..., Result], case: str) -> None:
    """The check is clean, as a table and as JSON, and the mask is what was saved."""
    expected = READ[case](tree)
    for options in ((), ("--json",)):
        result = check(*options)
        assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"] == []
    source, findings = list_source(tree.section, seed=0)
    assert findings == ()
    (sample,) = [sample for sample in source.splits["train"] if not sample.name.startswith("good")]
    image, mask = source.read(sample)
    assert image.shape == (*expected.shape, 3)
    np.testing.assert_array_equal(mask, expected)
