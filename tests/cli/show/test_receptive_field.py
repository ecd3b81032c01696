"""``segzoo show NAME --receptive-field``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

Run = Callable[..., Result]


def test_table(run: Run) -> None:
    """Both axes come first, then every layer with a window."""
    result = run("show", "segnet_basic", "--receptive-field")
    assert result.exit_code == 0, result.stderr
    axes, layers = result.stdout.split("\n\n")
    assert [line.split()[0] for line in axes.splitlines()] == ["axis", "height", "width"]
    assert layers.splitlines()[0].split() == ["layer", "function", "kernel", "stride", "dilation", "pixels"]
    assert layers.splitlines()[1].split()[2:] == ["7x7", "1x1", "1x1", "7"]


def test_json(run: Run) -> None:
    """One row has the id, both axes, the layers, and nothing of what was not asked for."""
    result = run("show", "unet_resnet18", "--receptive-field", "--json")
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)["rows"]
    assert row["id"] == "segzoo/unet_resnet18"
    assert row["height"] == row["width"] == {"smallest": 531, "largest": 563, "cause": ""}
    assert row["layers"][0] == {
        "name": "encoder.conv1",
        "kind": "conv2d",
        "kernel": [7, 7],
        "stride": [2, 2],
        "dilation": [1, 1],
        "field": 7,
    }
    assert row["effective"] is None


def test_global_is_said_with_its_cause(run: Run) -> None:
    """The table has a word where there is no number."""
    result = run("show", "fast_scnn", "--receptive-field")
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("height ")]
    assert line.split(maxsplit=2)[1:] == ["global", "pooling to a fixed size in encoder.global_feature_extractor.3"]


@pytest.mark.slow
def test_picture(run: Run) -> None:
    """The effective field is drawn where it is asked for, and the same each time."""
    words = ("show", "fast_scnn", "--receptive-field", "--picture")
    first, second = run(*words, "a.png", "--json"), run(*words, "b.png", "--json")
    assert first.exit_code == 0, first.stderr
    effective = json.loads(first.stdout)["rows"][0]["effective"]
    assert effective["picture"] == "a.png"
    assert 0 < effective["side"] < effective["size"]
    with Image.open("a.png") as drawn:
        assert drawn.size == (effective["size"],) * 2
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert second.exit_code == 0


def test_options_that_do_not_go_together(refused: Callable[..., str]) -> None:
    """A picture of nothing, two things at once, and a folder that is missing are refused before anything is built."""
    assert refused("show", "unet", "--picture", "a.png").endswith("add --receptive-field")
    assert refused("show", "smp_unet", "--encoders", "--receptive-field").endswith("give one of them")
    assert refused("show", "unet", "smp_*", "--receptive-field").startswith("'smp_*' is left over")
    assert refused("show", "unet", "--receptive-field", "--picture", "none/a.png").endswith("there is no folder none")
    assert refused("show", "unet", "--receptive-field", "--picture", "a.jpg").endswith("name it a.png")


def test_torch_is_imported_for_this_option_alone() -> None:
    """``show`` without it stays as light as it was."""
    code = (
        "import sys; from segzoo.cli import app; app(['show', 'unet'], standalone_mode=False); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
