"""``segzoo predict`` as a user types it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import Result

from segzoo.inference.predictor import Predictor


@pytest.fixture(autouse=True)
def _images(run: Callable[..., Result]) -> None:
    """Leave two images and a TIFF in the folder where commands run."""
    Path("in").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(Path("in") / name)
    Path("one.png").write_bytes((Path("in") / "a.png").read_bytes())
    tifffile.imwrite("scan.tif", rng.integers(0, 256, (150, 70, 3), dtype=np.uint8), photometric="rgb")


def test_masks_are_printed_as_they_come(run: Callable[..., Result], trained: str) -> None:
    """A folder and a pattern give a mask for each image, of its size; nothing else is on stdout."""
    result = run("predict", trained, "in", "*.tif", "--out", "masks", "--device", "cpu", "--write", "overlay,coco")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == ["masks/a.png", "masks/b.png", "masks/scan.png"]
    with Image.open("masks/scan.png") as mask:
        assert mask.size == (70, 150)
    assert Path("masks/overlays/a.png").exists()
    assert Path("masks/coco.json").exists()

    again = run("predict", trained, "in", "--out", "masks", "--device", "cpu")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "results exist; choose another --out, or pass --overwrite or --skip-existing:\n  masks/a.png" in again.stderr
    assert run("predict", trained, "in", "--out", "masks", "--device", "cpu", "--overwrite").exit_code == 0
    more = run("predict", trained, "in", "one.png", "--out", "masks", "--device", "cpu", "--skip-existing")
    assert (more.exit_code, more.stdout) == (0, "masks/one.png\n")
    assert "2 of 3 images are labelled already" in more.stderr


def test_windows_augmentations_and_the_crf(run: Callable[..., Result], trained: str) -> None:
    """Options act, alone and together; a TIFF in windows has a TIFF as its mask."""
    masks = {}
    for name, words in {
        "plain": [],
        "window": ["--window", "64x32", "--overlap", "0.5"],
        "apart": ["--window", "64x32", "--overlap", "0"],
        "tta": ["--tta", "flip,scales"],
        "crf": ["--crf", "--mode", "best"],
        "all": ["--window", "64", "--tta", "flip", "--crf", "--batch-size", "2"],
    }.items():
        result = run("predict", trained, "scan.tif", "--out", name, "--device", "cpu", *words)
        assert result.exit_code == 0, result.stderr
        path = Path(result.stdout.strip())
        masks[name] = tifffile.imread(path) if path.suffix == ".tif" else np.array(Image.open(path))
    assert Path("window/scan.tif").exists()
    for name in ("window", "tta", "crf"):
        assert masks[name].shape == (150, 70)
        assert (masks[name] != masks["plain"]).any(), name
    assert (masks["window"] != masks["apart"]).any()


def test_bad_images_are_named_and_the_rest_is_done(run: Callable[..., Result], trained: str) -> None:
    """Exit code 1, each bad file with its reason on stderr, and no traceback."""
    Path("in/bad.png").write_bytes(b"no image")
    result = run("predict", trained, "in", "--out", "masks", "--device", "cpu")
    assert result.exit_code == 1
    assert result.stdout.split() == ["masks/a.png", "masks/b.png"]
    assert "in/bad.png: not an image" in result.stderr
    assert "error: 1 of 3 images could not be labelled, as said above; the rest is in masks" in result.stderr
    nothing = run("predict", trained, "in/bad.png", "--out", "masks", "--device", "cpu").stderr.splitlines()[-1]
    assert nothing == "error: 1 of 1 images could not be labelled, as said above"
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--window", "big"],
            "--window is a number of pixels such as 512, or height x width such as 512x768, got 'big'",
        ),
        (["--window", "0"], "--window is a number of pixels such as 512"),
        (["--overlap", "1"], "--overlap must be at least 0 and below 1, got 1"),
        (["--overlap", "nan"], "--overlap must be at least 0 and below 1, got nan"),
        (["--write", "mask"], "no output named 'mask'"),
        (["--tta", "flips"], "no test-time augmentation named 'flips'. Did you mean 'flip'?"),
        (["--overwrite", "--skip-existing"], "--overwrite replaces what --skip-existing keeps; choose one"),
        (["--mode", "fast"], "'fast'"),
    ],
    ids=str,
)
def test_bad_options_are_told(refused: Callable[..., str], words: list[str], message: str) -> None:
    """Each is refused with its value before any model is read."""
    assert message in refused("predict", "run", "in", "--out", "masks", *words)


def test_what_does_not_fit_the_model_is_told(
    run: Callable[..., Result], refused: Callable[..., str], trained: str
) -> None:
    """A window below the model's smallest image, and an overlap without a window."""
    words = ["predict", trained, "in", "--out", "masks", "--device", "cpu"]
    assert refused(*words, "--window", "16").startswith("--window 16x16 is below the 32 pixels that the model needs")
    assert refused(*words, "--overlap", "0.5").startswith("--overlap 0.5 is that of windows; give --window")
    assert refused("predict", "none", *words[2:]).startswith("none does not exist; give a run directory")
    assert refused(*words[:2], "", *words[3:]) == "the name of an image or folder is empty"
    assert refused(*words[:2], "none.png", *words[3:]).startswith("there is neither a file nor a folder 'none.png'")
    Path("file").write_text("")
    assert refused("predict", trained, "in", "--out", "file") == "--out file is not a folder"
    assert not Path("masks").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_nothing_half_written(
    run: Callable[..., Result], trained: str, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    """In the middle of a mask that is written in parts, a signal ends the command by its name; masks before it stay."""
    blocks = Predictor.blocks

    def struck(predictor: Predictor, *arguments: Any) -> Iterator[Any]:
        for number, block in enumerate(blocks(predictor, *arguments)):
            if number == 1:
                signal.raise_signal(signum)
            yield block

    monkeypatch.setattr(Predictor, "blocks", struck)
    words = ("--out", "masks", "--device", "cpu", "--window", "32", "--batch-size", "1")
    result = run("predict", trained, "in/a.png", "scan.tif", *words)
    assert (result.exit_code, result.stdout) == (128 + signum, "masks/a.png\n")
    told = f"error: stopped by {signum.name}: 1 of 2 images were labelled"
    assert f"{told}; --skip-existing goes on with the others\n" in result.stderr
    assert [path.name for path in Path("masks").iterdir()] == ["a.png"]
    # What is there may be another model's then.
    assert f"{told}\n" in run("predict", trained, "in/a.png", "scan.tif", *words, "--overwrite").stderr
