"""A legend under a picture: swatches of classes with their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

GAP = 8
LINE = 24
SWATCH = 13
INK = (28, 32, 36)


def draw_legend(entries: Sequence[tuple[str, Image.Image]], width: int) -> Image.Image:
    """Lay out names and swatches line by line.

    Args:
        entries: Each class's name and swatch.
        width: Pixels of a line.
    """
    font = letters(SWATCH)
    places: list[tuple[int, int]] = []
    left, top = GAP, 4
    for name, _ in entries:
        needed = SWATCH + 7 + round(font.getlength(name)) + 2 * GAP
        if left > GAP and left + needed > width:
            left, top = GAP, top + LINE
        places.append((left, top))
        left += needed
    legend = Image.new("RGB", (width, top + LINE), "white")
    pen = ImageDraw.Draw(legend)
    for (name, swatch), (x, y) in zip(entries, places, strict=True):
        legend.paste(swatch, (x, y))
        pen.rectangle((x, y, x + SWATCH, y + SWATCH), outline=INK)
        pen.text((x + SWATCH + 7, y - 1), name, fill=INK, font=font)
    return legend


def letters(size: int) -> ImageFont.FreeTypeFont:
    """Return matplotlib's own font, which has more letters than PIL's."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
