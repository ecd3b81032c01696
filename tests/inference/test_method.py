"""A method holds numbers that make sense."""

from __future__ import annotations

from typing import Any

import pytest

from segzoo.errors import UnknownName
from segzoo.inference.method import Method, read_augmentations


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": (0, 4)}, "got 0x4"),
        ({"overlap": 1.0}, r"got 1\.0"),
        ({"overlap": -0.5}, r"got -0\.5"),
        ({"batch_size": 0}, "got 0"),
        ({"augmentations": "flip"}, "augmentations are flip, scales in a tuple, got 'f'"),
        ({"augmentations": ("rot",)}, "got 'rot'"),
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
