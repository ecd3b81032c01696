"""Trained models on CUDA: labels, probabilities, scores, the range test, and where memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import segzoo
from segzoo.cli import app
from segzoo.inference import predictor as predictors
from segzoo.inference.evaluation import evaluate
from segzoo.inference.method import Method
from segzoo.recipe import Recipe
from segzoo.training.trials.lr_find import find_learning_rate

HEIGHT, WIDTH = 150, 170
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
METHODS = {
    "whole": Method(),
    "windows": Method(window=(64, 64)),
    "augmented": Method(augmentations=("flip", "scales")),
    "augmented windows": Method(window=(96, 96), augmentations=("flip",)),
    "crf": Method(crf=True),
}


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_images_are_labelled(run_folder: Path, method: Method, device: str) -> None:
    """Labels and probabilities have the image's size, whichever way it is seen."""
    predictor = segzoo.load(run_folder, device=device)
    labels = predictor(PICTURE, method)
    assert (labels.shape, labels.dtype) == ((HEIGHT, WIDTH), np.uint8)
    assert predictor.probabilities(PICTURE, method).shape == (len(predictor.classes), HEIGHT, WIDTH)


def test_large_images_are_labelled_in_strips(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of an image whose logits are not held at its own size are taken strip by strip."""
    monkeypatch.setattr(predictors, "PLANE", 4096)
    predictor = segzoo.load(run_folder, device="cuda:1")
    assert predictor(PICTURE).shape == (HEIGHT, WIDTH)


def test_parts_of_an_image_are_labelled(run_folder: Path) -> None:
    """An image that is read row of windows by row of windows is labelled whole."""
    predictor = segzoo.load(run_folder, device="cuda:1")
    found = np.zeros((HEIGHT, WIDTH), bool)
    blocks = predictor.blocks(lambda top, bottom: PICTURE[top:bottom], (HEIGHT, WIDTH), Method(window=(64, 64)))
    for top, left, labels in blocks:
        found[top : top + labels.shape[0], left : left + labels.shape[1]] = True
    assert found.all()


def test_windows_do_not_wait(run_folder: Path, null_gpu: Any) -> None:
    """More windows cost more launches and no more waiting, and no copy is from pageable memory."""
    predictor = segzoo.load(run_folder, device="cuda")
    counts = []
    for side in (64, 128):

        def label(picture: Any = PICTURE[:side, :side]) -> None:
            predictor(picture, Method(window=(64, 64), batch_size=1))

        label()
        counts.append(null_gpu.spent(label))
    assert counts[1].launches > counts[0].launches
    assert counts[1].waits == counts[0].waits
    assert "pageable_copies" not in counts[0].waits


def test_the_fastest_way_is_chosen(run_folder: Path, null_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ways to run a network are tried on CUDA, graphs among them, and none breaks the rules of a capture."""

    def compile_nothing(*_: Any, **__: Any) -> None:
        raise RuntimeError("Triton has no GPU to compile for")

    monkeypatch.setattr(torch, "compile", compile_nothing)
    choices: list[Any] = []
    spent = null_gpu.spent(lambda: choices.append(segzoo.load(run_folder, device="cuda", mode="best")))
    assert any(trial.way.replayed and not trial.way.compiled for trial in choices[0].trials)
    assert spent.capture_violations == 0
    assert spent.graph_launches > 0
    assert choices[0](PICTURE).shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("augmentations", [(), ("flip",)])
def test_a_run_is_scored(run_folder: Path, tmp_path: Path, augmentations: Any) -> None:
    """A run of the CPU is scored on CUDA with its figures."""
    scores = evaluate(run_folder, device="cuda", augmentations=augmentations, out=tmp_path)
    assert scores.row["images"] == 4
    assert any(tmp_path.iterdir())


def test_the_range_test_runs(small: Callable[..., Recipe]) -> None:
    """The range test makes all its steps."""
    assert len(find_learning_rate(small(), device="cuda", start=1e-5, end=1.0, steps=6).rates) == 6


def test_out_of_memory_names_the_way_out(run_folder: Path, tmp_path: Path, null_gpu: Any) -> None:
    """An image that does not fit is reported in one message with what helps."""
    Image.fromarray(np.zeros((2048, 2048, 3), np.uint8)).save(tmp_path / "large.png")
    torch.cuda.empty_cache()
    null_gpu.limit_memory(null_gpu.memory_used(0) + (24 << 20))
    words = ["predict", str(run_folder), str(tmp_path / "large.png"), "--out", str(tmp_path / "masks")]
    result = CliRunner().invoke(app, [*words, "--device", "cuda", "--window", "1024"])
    assert result.exit_code == 1
    assert "out of memory" in result.output


@pytest.mark.slow
def test_resuming_is_verified(small: Callable[..., Recipe], tmp_path: Path) -> None:
    """A run that is killed and resumed on CUDA ends with the same bits."""
    from segzoo.training.trials.verify import verify_resume

    assert verify_resume(small("train.epochs=2"), tmp_path, device="cuda", steps=6) == []
