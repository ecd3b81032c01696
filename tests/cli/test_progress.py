"""A bar counts images on a terminal, and is silent elsewhere."""

from __future__ import annotations

import pytest

from segzoo.cli.progress import counting


def test_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal nothing is printed."""
    with counting("scored") as watch:
        advance = watch(2)
        advance(1)
        advance(1)
    assert capsys.readouterr() == ("", "")
