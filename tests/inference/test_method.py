"""A method holds numbers that make sense."""

from __future__ import annotations

from typing import Any

import pytest

from segzoo.errors import UnknownName
from segzoo.inference.method import Method, read_augmentations


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": (0, 4)}, r"got \(0, 4\)"),
        ({"window": 64}, r"window is height and width in pixels, such as \(512, 512\), got 64"),
        ({"window": (64,)}, r"got \(64,\)"),
        ({"window": (64.0, 64)}, r"got \(64\.0, 64\)"),
        ({"overlap": 1.0}, r"got 1\.0"),
        ({"overlap": -0.5}, r"got -0\.5"),
        ({"batch_size": 0}, "got 0"),
        ({"augmentations": "flip"}, "augmentations are flip, scales in a tuple, got 'flip'"),
        ({"augmentations": ("rot",)}, r"got \('rot',\)"),
        ({"crf": "no"}, "crf is True or False, got 'no'"),
    ],
)
def test_numbers_out_of_range(fields: dict[str, Any], message: str) -> None:
    """What is out of range, and what is no augmentation, is refused with its value."""
    with pytest.raises(ValueError, match=message):
        Method(**fields)


def test_names_are_read() -> None:
    """A list has names in any order, each once; a misspelt one is told."""
    assert read_augmentations("") == ()
    assert read_augmentations("scales, flip,scales") == ("flip", "scales")
    with pytest.raises(UnknownName, match="no test-time augmentation named 'scale'"):
        read_augmentations("flip,scale")
