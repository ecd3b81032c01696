"""A trained model gets the scores that its training reported, and scores on other data that can be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import segzoo
from segzoo import load_recipe
from segzoo.data.opening import open_source
from segzoo.errors import UnknownName, UsageFault
from segzoo.inference import evaluation
from segzoo.inference.evaluation import evaluate
from segzoo.runs.rundir import RunDirectory

SMALL = (
    "train.max_steps=6",
    "train.batch_size=4",
    "train.workers=0",
    "train.threads=1",
    "data.size=[48,64]",
    'data.counts={"train":8,"val":6}',
)


def assert_as_reported(folder: Path) -> None:
    """Compare an evaluation with what the run wrote of its best weights, to the last bit."""
    reported = json.loads((folder / "model" / "model.json").read_text())["metrics"]
    scores = evaluate(folder, device="cpu")
    row = json.loads(json.dumps(scores.row))
    for key in ("mean_iou", "pixel_accuracy", "mean_dice", "per_class_iou", "absent_classes"):
        assert row[key] == reported[key], key
    for key in ("scores", "intervals", "per_class", "passport"):
        assert row[key] == reported[key], key
    line = next(line for line in RunDirectory(folder).rows() if line["epoch"] == reported["epoch"])
    assert row["loss"] == line["val_loss"]


def test_a_run_gets_the_scores_of_its_training(run_folder: Path) -> None:
    """Every number is the same to the last bit: the split's, each class's, the intervals and the loss."""
    assert_as_reported(run_folder)


@pytest.mark.parametrize(
    "changes",
    [
        ["train.precision=bf16", "train.channels_last=true", "data.image_size=[32,48]", "eval.batch_size=5"],
        ["eval.window=[32,32]", "train.ema_decay=0.5", "eval.batch_size=3"],
        ['loss=[{"name": "cross_entropy", "class_weights": "median_frequency"}, {"name": "dice"}]'],
        ["transfer.strategy=feature_hook", "transfer.cache=memory", "augment=[]"],
    ],
    ids=["bf16", "window", "class weights", "features"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_however_it_was_trained(tmp_path: Path, changes: list[str]) -> None:
    """Precision, layout, windows, average, class weights and kept features are those of the run."""
    recipe = load_recipe("quickstart", [*SMALL, *changes])
    assert_as_reported(segzoo.finetune(recipe, out=tmp_path / "run", device="cpu").folder)


def test_another_split(run_folder: Path) -> None:
    """A split that the run never scored has other images, and its own passport."""
    scores = evaluate(run_folder, split="test", device="cpu")
    assert (scores.split, scores.images, scores.passport.images) == ("test", 3, 3)
    assert scores.loss is not None
    with pytest.raises(UnknownName, match=r"no split named 'tset'\. Did you mean 'test'"):
        evaluate(run_folder, split="tset", device="cpu")


def test_other_data(run_folder: Path) -> None:
    """A recipe's data and eval sections decide what is scored; the run's loss does not apply to it."""
    other = load_recipe(run_folder / "recipe.json", ["train.seed=7", "eval.split=test"])
    scores = evaluate(run_folder, data=other, device="cpu")
    own = evaluate(run_folder, split="test", device="cpu")
    assert scores.split == "test"
    assert scores.loss is None
    assert (scores.matrix != own.matrix).any()


def test_classes_must_be_the_models(run_folder: Path) -> None:
    """Labels that mean something else are refused, by number or by name."""
    fewer = load_recipe(run_folder / "recipe.json", ["data.num_classes=3"])
    with pytest.raises(UsageFault, match=r"the model has 5 classes \(background, .* the data 3"):
        evaluate(run_folder, data=fewer, device="cpu")


def test_a_folder_alone_needs_data(write_folder: Callable[..., Path], run_folder: Path) -> None:
    """A model that is in no run is scored on what a recipe names."""
    folder = write_folder(metrics={})
    with pytest.raises(UsageFault, match="is no run with data of its own; name a recipe with --data"):
        evaluate(folder, device="cpu")


def test_augmentations_are_in_the_passport(run_folder: Path) -> None:
    """Averaged predictions have other scores than plain ones, and say so."""
    plain, averaged = (evaluate(run_folder, device="cpu", augmentations=each) for each in ((), ("flip", "scales")))
    assert averaged.passport.augmentations == ("flip", "scales")
    assert (plain.matrix != averaged.matrix).any()


def test_the_worst_images_are_listed_and_drawn(run_folder: Path, tmp_path: Path) -> None:
    """They come with the lowest first; the files of two evaluations lie side by side."""
    told: list[int] = []
    out = tmp_path / "out"
    scores = evaluate(run_folder, device="cpu", out=out, watch=lambda total: told.append)
    evaluate(run_folder, device="cpu", out=out, augmentations=("flip",))
    lowest = [score for _, score in scores.worst]
    assert lowest == sorted(lowest)
    assert len(lowest) == 6
    assert sum(told) == 6
    written: dict[str, Any] = json.loads((out / "val.json").read_text())
    assert written["worst"][0] == {"name": scores.worst[0][0], "mean_iou": lowest[0]}
    names = {path.name for path in out.iterdir()}
    assert names == {
        f"{stem}{end}" for stem in ("val", "val-flip") for end in (".json", "_worst.png", "_confusion.png")
    }


@pytest.mark.parametrize(("device", "pinned"), [("cuda", True), ("cpu", False)])
def test_batches_for_cuda_are_pinned(monkeypatch: pytest.MonkeyPatch, device: str, pinned: bool) -> None:
    """Copies to a GPU wait for no other where what is scored lies in page-locked memory."""
    asked: list[bool] = []
    monkeypatch.setattr(evaluation, "eval_loader", lambda *_, pin_memory, **__: asked.append(pin_memory))
    recipe = load_recipe("quickstart", SMALL)

    evaluation._batches(recipe, open_source(recipe.data, seed=0), None, torch.device(device))

    assert asked == [pinned]


def test_a_deterministic_run_is_scored_deterministically(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of the run decides whether cuBLAS is, and before the network is on its device."""
    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(
        evaluation, "fix_cublas", lambda device, *, deterministic: asked.append((device.type, deterministic))
    )
    monkeypatch.setattr(evaluation, "_score", lambda *_: pytest.fail("too early") if not asked else predict_nothing)
    with pytest.raises(RuntimeError, match="nothing"):
        evaluate(run_folder, device="cpu")
    assert asked == [("cpu", False)]


def predict_nothing(_: object) -> torch.Tensor:
    """Stand for a network."""
    raise RuntimeError("nothing")
