"""A download may be slow, not still."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from segzoo.weights import patience
from segzoo.weights.patience import Progress, run_while_it_advances


def test_what_advances_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that takes several times the patience returns, as long as the progress rises."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.15)
    steps = itertools.count()

    assert run_while_it_advances(lambda: time.sleep(0.6) or "done", lambda: float(next(steps))) == "done"


def test_what_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call whose progress does not rise is left to itself."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.15)

    with pytest.raises(TimeoutError, match=r"nothing arrived for 0\.15 s"):
        run_while_it_advances(lambda: time.sleep(0.6), lambda: 1.0)


def test_what_the_call_raises_is_raised() -> None:
    """The caller sees the error as if it had made the call itself."""

    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        run_while_it_advances(fail, lambda: 0.0)


def test_bars_and_files_count_together(tmp_path: Path) -> None:
    """Bytes that a bar shows and bytes that lie in the cache are added."""
    progress = Progress(tmp_path)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/a.incomplete").write_bytes(b"12345")
    bar = progress.bar()(total=10, disable=True)
    bar.update(3)

    assert progress() == 8
