"""A method holds numbers that make sense."""

from __future__ import annotations

from typing import Any

import pytest

from segzoo.inference.method import Method


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": (0, 4)}, "got 0x4"),
        ({"overlap": 1.0}, r"got 1\.0"),
        ({"overlap": -0.5}, r"got -0\.5"),
        ({"batch_size": 0}, "got 0"),
    ],
)
def test_numbers_out_of_range(fields: dict[str, Any], message: str) -> None:
    """Each is refused with its value."""
    with pytest.raises(ValueError, match=message):
        Method(**fields)
