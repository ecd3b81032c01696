"""What can be wrong with data, in words and by kind: the scan refuses it, the data doctor lists it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from segzoo.errors import DataError

Kind = Literal[
    "missing_mask",
    "missing_image",
    "repeated_name",
    "unreadable",
    "unsupported",
    "too_large",
    "size_mismatch",
    "label_outside_classes",
    "binary_mask",
    "colour_mask",
    "unknown_colour",
    "duplicate",
    "leak",
]
"""The kinds of faults: a ``duplicate`` lies in one split twice, a ``leak`` in two splits."""


class Finding(NamedTuple):
    """One fault of one file.

    Args:
        kind: Which fault.
        file: The file at fault, as it is found from the current directory.
        message: What is wrong and the way out, without the file's name.
    """

    kind: Kind
    file: str
    message: str

    def __str__(self) -> str:
        """Return the line that messages show."""
        return f"{self.file}: {self.message}"


class FileFault(DataError):  # noqa: N818 - a user's file is at fault
    """A file that cannot be used; ``finding`` tells of its kind."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding
