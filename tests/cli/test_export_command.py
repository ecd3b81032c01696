"""``segzoo export`` prints its proof, and a mistake is told before anything is computed."""

from __future__ import annotations

import importlib.util
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import Result

from segzoo.export.onnx import PACKAGES

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in PACKAGES), reason="the extra onnx is not installed"
)

CHANGES = ("train.max_steps=2", "train.batch_size=2", "train.workers=0", "train.threads=1")
DATA = ("data.size=[32,48]", "data.image_size=[32,48]", 'data.counts={"train":4,"val":4}')


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of a few steps."""
    from segzoo import finetune, load_recipe

    out = tmp_path_factory.mktemp("runs") / "tiny"
    return finetune(load_recipe("quickstart", [*CHANGES, *DATA]), out=out, device="cpu").folder


def test_table_and_report(run: Callable[..., Result], trained: Path) -> None:
    """The table is the report in short; the file is there; a second run does not replace it."""
    words = ("export", str(trained), "--out", "model.onnx", "--images", "2", "--report", "report.json")
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    header, row, file = result.stdout.splitlines()
    assert header.split()[:2] == ["size", "images"]
    assert row.split()[:2] == ["32x48", "2"]
    assert file == f"file:  model.onnx ({Path('model.onnx').stat().st_size:,} bytes)"
    report = json.loads(Path("report.json").read_text())
    assert report["comparisons"][0]["max_difference"] <= 1e-3
    assert report["faults"] == []

    again = run(*words)
    assert again.exit_code == 2
    both = run("export", str(trained), "--out", "other.onnx", "--report", "other.onnx")
    assert (both.exit_code, "would replace what is exported" in both.stderr) == (2, True)
    assert again.stderr == "error: model.onnx exists; choose another name, or pass --overwrite\n"


@pytest.mark.slow
def test_int8_as_json(run: Callable[..., Result], trained: Path) -> None:
    """One row holds the loss and the speed; too much loss is exit 1, told and reported, and no file is left."""
    words = ("export", str(trained), "--out", "model.onnx", "--quantize", "int8", "--images", "2", "--json")
    result = run(*words, "--max-miou-loss", "1")
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)["rows"]
    assert row["precision"] == "int8"
    assert row["speed"]["speed_up"] > 0
    assert row["comparisons"][0]["miou_lost"] is not None

    scored = run("evaluate", "model.onnx", "--data", str(trained / "recipe.json"), "--json")
    assert scored.exit_code == 0, scored.stderr
    (found,) = json.loads(scored.stdout)["rows"]
    assert (found["model"], found["images"]) == ("segzoo/fast_scnn (onnx, int8)", 4)
    assert (
        "model.onnx is no run with data of its own; name a recipe with --data" in run("evaluate", "model.onnx").stderr
    )
    Image.new("RGB", (60, 40), (200, 30, 30)).save("photo.png")
    labelled = run("predict", "model.onnx", "photo.png", "--out", "masks")
    assert (labelled.exit_code, labelled.stdout) == (0, "masks/photo.png\n"), labelled.stderr


@pytest.mark.slow
def test_parity_that_fails(run: Callable[..., Result], trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1, the table and the report all the same, and no file."""
    monkeypatch.setattr("segzoo.export.parity.TOLERANCE", 0.0)
    monkeypatch.setattr("segzoo.export.parity.find_undecided", lambda *_, **__: torch.tensor(False))
    result = run("export", str(trained), "--out", "model.onnx", "--images", "1", "--report", "report.json")
    assert result.exit_code == 1
    assert "error: model.onnx was not written: at 32x48 pixels logits differ by up to " in result.stderr
    assert result.stdout.splitlines()[-1].startswith("32x48")
    assert json.loads(Path("report.json").read_text())["faults"]
    assert [path.name for path in Path().iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "m.bin"), "a file of format onnx ends in .onnx, got m.bin; write m.onnx"),
        (("--out", "no/m.onnx"), "the folder no does not exist"),
        (
            ("--out", "m.onnx", "--half", "--quantize", "int8"),
            "--half and --quantize are two kinds of numbers; choose one",
        ),
        (("--out", "m.onnx", "--quantize", "int4"), "--quantize makes int8, got 'int4'"),
        (("--out", "m.onnx", "--max-miou-loss", "0.1"), "--max-miou-loss is for --half and --quantize"),
        (("--out", "m.pt2", "--format", "aoti", "--quantize", "int8"), "int8 is made for ONNX alone"),
        (("--out", "m.onnx", "--report", "no/r.json"), "the folder no does not exist"),
        (("--out", "m.onnx", "--data", "quickstrat"), "Did you mean 'quickstart'?"),
        (("--out", "m.onnx"), "missing does not exist; give a run directory"),
    ],
)
def test_mistakes(refused: Callable[..., str], words: tuple[str, ...], message: str) -> None:
    """Each is one message with the value and the way out."""
    assert message in refused("export", "missing", *words)


def test_a_signal_leaves_no_file(run: Callable[..., Result], trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the draft is compared, a signal ends the command by its name, and the draft goes."""
    monkeypatch.setattr("segzoo.export.model.compare_outputs", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    result = run("export", str(trained), "--out", "model.onnx", "--images", "1")
    assert (result.exit_code, result.stdout) == (143, "")
    assert "error: stopped by SIGTERM" in result.stderr
    assert not list(Path().iterdir())
