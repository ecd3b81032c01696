"""A bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import io
import logging
import re
import sys
from typing import Any

import pytest

from segzoo.training.progress import Pace, show_progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    """Return what the line of an epoch is made of."""
    scores = {"train_loss": 0.12345, "val_loss": 0.5, "mean_iou": 0.75}
    return {"epoch": epoch, **scores, "images_per_second": 41.26, "data_wait": 0.0312, **changes}


def run() -> None:
    """Show a run of two epochs of two steps; the first is not validated, in the second nothing could be scored."""
    with show_progress(total=4, done=0, epochs=2) as display:
        for line in (row(1, val_loss=None, mean_iou=None), row(2, mean_iou=None)):
            display.advance(Pace(None, 10.0, 1.0))
            display.advance(Pace(0.54321, 20.04, 0.256))
            display.epoch(line)


def test_piped_run_prints_a_line_per_epoch(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where stderr is no terminal each epoch is one message, steps are none, and stdout stays empty."""
    with caplog.at_level(logging.INFO, logger="segzoo"):
        run()

    assert [record.getMessage() for record in caplog.records] == [
        "epoch 1/2  loss 0.1235  41.3 images/s  data wait 3%",
        "epoch 2/2  loss 0.1235  val loss 0.5000  mIoU -  41.3 images/s  data wait 3%",
    ]
    assert capsys.readouterr() == ("", "")


def test_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """On a terminal the bar counts steps, and the epochs' lines stand above it instead of in the log."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")

    with caplog.at_level(logging.INFO, logger="segzoo"):
        run()

    assert "epoch 1/2  loss 0.1235  41.3 images/s" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert not caplog.records


@pytest.mark.parametrize("columns", ["80", "120"])
def test_bar_tells_how_it_goes(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """Beside the steps stand the loss that was read last, the last mIoU, speed, data wait and what is left."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)

    with show_progress(total=4000, done=3990, epochs=100) as display:
        display.advance(Pace(None, 1234.5, 1.0))
        display.epoch(row(99, mean_iou=0.75))
        display.epoch(row(100, mean_iou=None, val_loss=None))
        display.advance(Pace(0.54321, 1234.5, 0.256))
        display.epoch(row(101, mean_iou=0.875))

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(
        r"3992/4000 loss 0\.5432 mIoU 0\.8750 1234\.5 images/s wait 26% ETA [-\d]:[-\d]{2}:[-\d]{2}", shown
    )


def test_no_color_is_no_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """``NO_COLOR`` gives plain lines on a terminal too."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("NO_COLOR", "1")

    with caplog.at_level(logging.INFO, logger="segzoo"):
        run()

    assert terminal.getvalue() == ""
    assert len(caplog.records) == 2


def test_resumed_run_starts_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that were done before are on the bar from the beginning."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")

    with show_progress(total=10, done=7, epochs=2) as display:
        display.advance(Pace(0.5, 10.0, 0.0))

    assert "8/10" in terminal.getvalue()
