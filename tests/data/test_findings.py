"""A finding is one line, whatever a file is called."""

from __future__ import annotations

import os

import pytest

from segzoo.data.findings import FileFault, Finding, explain_unpaired, printable
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


def unpaired(images: list[str], masks: list[str]) -> str | None:
    """Return what is said of files without a partner."""
    findings = [Finding("missing_mask", f"images/{name}.jpg", "") for name in images]
    findings += [Finding("missing_image", f"masks/{name}.png", "") for name in masks]
    return explain_unpaired([*findings, Finding("unreadable", "images/x.jpg", "")])


@pytest.mark.parametrize(
    ("images", "masks", "expected"),
    [
        (
            ["1", "11", "2"],
            ["11_mask", "1_mask", "2_mask"],
            "all 3 masks without an image end in '_mask': an image and",
        ),
        (["a", "b", "c"], ["gt-a", "gt-b"], "all 2 masks without an image begin with 'gt-'"),
    ],
)
def test_what_all_masks_share_is_said(images: list[str], masks: list[str], expected: str) -> None:
    """One line tells the end or the beginning that keeps masks from their images."""
    assert expected in str(unpaired(images, masks))


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["a", "b"], ["a_mask", "b_label"]),
        (["a"], ["a_mask"]),
        (["a", "b"], ["x", "y"]),
        (["a", "b"], ["m_a_m", "m_b_m"]),
        (["a", "b"], []),
        (["a"], ["a_mask", "b_mask"]),
    ],
)
def test_nothing_is_said_of_what_masks_do_not_share(images: list[str], masks: list[str]) -> None:
    """Ends that differ, a single file, and names without a partner have no such line."""
    assert unpaired(images, masks) is None


def test_fault_tells_its_finding() -> None:
    """A fault is a data error with the finding's line, and carries the finding as it is."""
    finding = Finding("unreadable", "a\nb.png", "the file is empty")
    fault = FileFault(finding)
    assert isinstance(fault, DataError)
    assert str(fault) == r"a\nb.png: the file is empty"
    assert fault.finding is finding
