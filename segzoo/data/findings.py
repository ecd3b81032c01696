"""What can be wrong with data, in words and by kind: the scan refuses it, the data doctor lists it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
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
    "blank_image",
    "low_values",
]
"""The kinds of faults: a ``duplicate`` lies in one split twice, a ``leak`` in two splits.

A ``blank_image`` shows a single colour, one of ``low_values`` next to nothing but black.
"""


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
        return f"{printable(self.file)}: {printable(self.message)}"


class FileFault(DataError):  # noqa: N818 - a user's file is at fault
    """A file that cannot be used; ``finding`` tells of its kind."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def explain_unpaired(findings: Iterable[Finding]) -> str | None:
    """Return what sets the names of all masks without an image apart from those of images, where it is one thing.

    Args:
        findings: All that is wrong with the files.
    """
    names: dict[Kind, list[str]] = {"missing_mask": [], "missing_image": []}
    for finding in findings:
        if finding.kind in names:
            names[finding.kind].append(Path(finding.file).stem)
    images, masks = names["missing_mask"], names["missing_image"]
    if len(masks) < 2:
        return None
    for image in images:
        before, found, behind = masks[0].partition(image)
        if not found or bool(before) == bool(behind):
            continue
        if {before + other + behind for other in images}.issuperset(masks):
            place = f"end in {behind!r}" if behind else f"begin with {before!r}"
            return printable(
                f"the names of all {len(masks)} masks without an image {place}: an image and its mask must have the "
                "same name, the suffix apart; rename the masks"
            )
    return None


def printable(text: str) -> str:
    """Return text as one line that every terminal takes: line breaks and bytes of no character are escaped."""
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    # How Python keeps the bytes of a file's name that are no UTF-8.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
