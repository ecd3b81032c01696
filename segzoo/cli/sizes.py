"""Sizes of images as options take them."""

from __future__ import annotations

import re

from segzoo.errors import UsageFault


def read_size(text: str) -> tuple[int, int]:
    """Return height and width of an image from ``--size HxW``.

    Raises:
        UsageFault: If it is not written so.
    """
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise UsageFault(f"--size must be HxW in pixels, such as 512x512, got {text!r}")
    return int(found[1]), int(found[2])
