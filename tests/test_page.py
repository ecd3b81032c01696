"""Self-contained pages."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from segzoo import page


def test_data_uri_holds_the_file(tmp_path: Path) -> None:
    """The address carries the file's bytes and its type."""
    path = tmp_path / "learning.gif"
    path.write_bytes(b"GIF89a\x00")
    head, _, content = page.data_uri(path).partition(",")
    assert head == "data:image/gif;base64"
    assert base64.b64decode(content) == b"GIF89a\x00"


def test_data_uri_refuses_other_files(tmp_path: Path) -> None:
    """A file that is no picture is refused by its name."""
    with pytest.raises(ValueError, match=r"\.png, \.gif, got 'page\.html'"):
        page.data_uri(tmp_path / "page.html")


def test_base_is_a_page_that_fetches_nothing() -> None:
    """The layout knows light and dark, fits a phone, and forbids scripts and anything from outside."""
    html = page.render("base.html.j2")
    assert html.startswith("<!doctype html>")
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_a_missing_name_is_an_error() -> None:
    """A template that is not given all it needs fails instead of leaving a hole."""
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        page.render("report.html.j2")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (page.percent(0.87549), "87.5%"),
        (page.percent(0.0), "0.0%"),
        (page.decimal(1234.5678, 2), "1,234.57"),
        (page.count(24437239), "24,437,239"),
        (page.millions(24437239), "24.44 M"),
        (page.duration(0), "0.0 s"),
        (page.duration(59.44), "59.4 s"),
        (page.duration(59.7), "1 min 00 s"),
        (page.duration(3599.4), "59 min 59 s"),
        (page.duration(3599.6), "1 h 00 min"),
        (page.duration(90061), "25 h 01 min"),
    ],
)
def test_numbers_are_readable(shown: str, expected: str) -> None:
    """Numbers have separators and units; no unit is ever full."""
    assert shown == expected


def test_an_unknown_number_is_a_dash() -> None:
    """None is never shown as zero."""
    number = None
    shown = {page.percent(number), page.decimal(number, 1), page.count(number), page.millions(number)}
    assert shown | {page.duration(number)} == {page.UNKNOWN}


def test_nothing_heavy_is_imported() -> None:
    """Pages need neither torch nor numpy."""
    code = "import sys, segzoo.page; print([name for name in ('torch', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
