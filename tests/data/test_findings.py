"""A finding is one line, whatever a file is called."""

from __future__ import annotations

import os

import pytest

from segzoo.data.findings import FileFault, Finding, printable
from segzoo.errors import DataError


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("zwei Bären 🐻.png", "zwei Bären 🐻.png"),
        ("two\nlines", r"two\nlines"),
        ("\x1b[31mred", r"\x1b[31mred"),
        (os.fsdecode(b"\xe9t\xe9"), r"\xe9t\xe9"),
        ("right\u202eleft", r"right\u202eleft"),
    ],
    ids=["unicode", "line break", "colour code", "no UTF-8", "direction"],
)
def test_names_are_printable(name: str, shown: str) -> None:
    """What is no character of a line is escaped, the rest is left."""
    assert printable(name) == shown
    assert printable(name).encode()


def test_fault_tells_its_finding() -> None:
    """A fault is a data error with the finding's line, and carries the finding as it is."""
    finding = Finding("unreadable", "a\nb.png", "the file is empty")
    fault = FileFault(finding)
    assert isinstance(fault, DataError)
    assert str(fault) == r"a\nb.png: the file is empty"
    assert fault.finding is finding
