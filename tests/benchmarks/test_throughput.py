"""Sides are compared within a round, and runs watched from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import throughput
from loader import draw_data

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "throughput.py"


def test_ratios_are_of_one_round() -> None:
    """The median is that of the rounds' ratios, not the ratio of medians."""
    rates = {"segzoo": [10.0, 90.0, 30.0], "step": [10.0, 100.0, 20.0], "plain": [1.0, 10.0, 100.0]}
    assert throughput.ratios_of(rates) == {"step": 1.0, "plain": 9.0}


def test_the_target_is_judged_where_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """A ratio is met or missed at the settings of the target, and only printed elsewhere."""
    result = {"images_per_second": {"step": [1.0]}, "ratios": {"step": 0.96, "plain": 2.5}}
    throughput.show(result, judged=True)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "segzoo over step   0.96  (target 0.95: met)",
        "segzoo over plain  2.50  (target 3.0: missed)",
    ]
    throughput.show(result, judged=False)
    assert "target" not in capsys.readouterr().out


def test_lines_are_seen_as_they_come(tmp_path: Path) -> None:
    """Each line of the file has a moment, in order; a command that fails is an error."""
    path = tmp_path / "lines"
    code = (
        "import sys, time\n"
        "for number in range(3):\n"
        "    with open(sys.argv[1], 'a') as file: file.write('x\\n')\n"
        "    time.sleep(0.3)\n"
        "sys.exit(int(sys.argv[2]))\n"
    )
    ends = throughput.epoch_ends([sys.executable, "-c", code, str(path), "0"], path)
    assert len(ends) == 3
    assert ends == sorted(ends)
    with pytest.raises(subprocess.CalledProcessError):
        throughput.epoch_ends([sys.executable, "-c", code, str(path), "1"], path)


def test_more_images_repeat_the_drawn_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch has as many images as asked for, each with its own mask."""
    monkeypatch.setattr("loader.IMAGES", 2)
    draw_data(tmp_path, images=5, split="val")
    images, masks = (sorted((tmp_path / "val" / kind).iterdir()) for kind in ("images", "masks"))
    assert [path.stem for path in images] == [path.stem for path in masks] == [f"{number:05d}" for number in range(5)]
    assert len({path.read_bytes() for path in masks}) == 2
    assert masks[4].read_bytes() == masks[0].read_bytes() != masks[1].read_bytes()


def test_numbers_below_one_are_refused() -> None:
    """The option is named with its value."""
    command = [sys.executable, str(SCRIPT), "--epoch-steps", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--epoch-steps must be at least 1, got 0" in done.stderr
