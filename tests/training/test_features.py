"""The feature-extractor strategies, in runs as users start them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segzoo import create_model
from segzoo.errors import RecipeError
from segzoo.recipe import load_recipe
from segzoo.recipe.schema import TransferSection
from segzoo.runs.checkpoint import read_checkpoint
from segzoo.training.features import build_cut, warn_of_random_parts
from segzoo.training.finetune import Run, finetune
from segzoo.transfer import CutBehindTap

pytestmark = pytest.mark.usefixtures("no_figures")

SMALL = (
    "model.name=unet_resnet18",
    "model.weights=null",
    "data.size=[64,64]",
    "data.image_size=[64,64]",
    'data.counts={"train":10,"val":3}',
    "train.batch_size=4",
    "train.epochs=3",
    "train.threads=1",
    'optimizer={"name":"sgd","lr":0.1,"momentum":0.9,"weight_decay":0.1}',
)
HOOK, IDENTITY = "transfer.strategy=feature_hook", "transfer.strategy=feature_identity"
FLIP = 'augment=[{"name":"HorizontalFlip","p":0.5}]'


def train(folder: Path, *changes: str) -> Run:
    """Train a small recipe."""
    return finetune(load_recipe("quickstart", (*SMALL, *changes)), out=folder, device="cpu")


def state(run: Run) -> dict[str, Any]:
    """Return the run's last checkpoint."""
    return read_checkpoint(run.folder / "checkpoints/last.pt")


def assert_equal(left: Run, right: Run) -> None:
    """Compare weights and scores, to the bit."""
    first, second = state(left)["model"], state(right)["model"]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [row["val_loss"] for row in left.metrics] == [row["val_loss"] for row in right.metrics]


def test_hook_and_identity_end_with_the_same_bits(tmp_path: Path) -> None:
    """Two ways to the same features: equal heads, and a rest that never moved."""
    hook, identity = train(tmp_path / "hook", HOOK, FLIP), train(tmp_path / "identity", IDENTITY, FLIP)
    begun = train(tmp_path / "begun", HOOK, FLIP, "train.epochs=1")

    assert_equal(hook, identity)
    early, late = (state(run)["model"] for run in (begun, hook))
    for name in early:
        moved = not torch.equal(early[name], late[name])
        assert moved == name.startswith("head."), name


@pytest.mark.slow
def test_tapped_encoder_equals_frozen_encoder(tmp_path: Path) -> None:
    """Training all that comes behind the encoder is what a frozen encoder does, to the bit."""
    tapped = train(tmp_path / "tapped", HOOK, FLIP, "transfer.tap=encoder")
    frozen = train(tmp_path / "frozen", FLIP, "transfer.strategy=frozen_encoder")
    assert_equal(tapped, frozen)


@pytest.mark.parametrize(
    ("strategy", "cache"), [(HOOK, "memory"), pytest.param(IDENTITY, "disk", marks=pytest.mark.slow)]
)
def test_kept_features_change_no_bit(tmp_path: Path, strategy: str, cache: str) -> None:
    """Features that are computed once train the same head, and the disk holds none of them afterwards."""
    views = (FLIP, "transfer.views=2")
    every_time = train(tmp_path / "every_time", strategy, *views)
    kept = train(tmp_path / "kept", strategy, *views, f"transfer.cache={cache}")

    assert_equal(every_time, kept)
    assert not list(kept.folder.glob(".features*"))


@pytest.mark.slow
def test_views_repeat(tmp_path: Path) -> None:
    """With one view every epoch sees the same pixels; drawing anew they differ."""
    fixed = train(tmp_path / "fixed", HOOK, FLIP, "transfer.views=1", "optimizer.lr=1e-30", "train.batch_size=10")
    anew = train(tmp_path / "anew", HOOK, FLIP, "optimizer.lr=1e-30", "train.batch_size=10")
    losses = [[row["train_loss"] for row in run.metrics] for run in (fixed, anew)]
    assert max(losses[0]) - min(losses[0]) < 1e-6  # the order within the batch rounds otherwise
    assert max(losses[1]) - min(losses[1]) > 1e-6


def test_kept_features_resume_exactly(tmp_path: Path) -> None:
    """A run that goes on computes the features anew and ends with the bits of one that was not stopped."""
    changes = (HOOK, FLIP, "transfer.views=2", "transfer.cache=memory", "train.ema_decay=0.9", "train.accumulate=2",
               "transfer.tap=encoder", 'scheduler={"name":"constant"}')  # fmt: skip
    through = train(tmp_path / "through", *changes)
    recipe = load_recipe("quickstart", (*SMALL, *changes, "train.epochs=2"))
    finetune(recipe, out=tmp_path / "stopped", device="cpu")
    recipe = load_recipe("quickstart", (*SMALL, *changes))
    assert_equal(through, finetune(recipe, out=tmp_path / "stopped", device="cpu", resume=True))


@pytest.mark.slow
def test_new_head_does_not_keep_rows(tmp_path: Path) -> None:
    """The head starts at random even where the weights have one for the same classes; the rest is theirs."""
    source = train(tmp_path / "source", "transfer.strategy=scratch", "train.epochs=1")
    run = train(tmp_path / "run", HOOK, "train.epochs=1", "optimizer.lr=1e-30", f"model.weights={source.folder}")
    fresh = train(tmp_path / "fresh", HOOK, "train.epochs=1", "optimizer.lr=1e-30")

    given = read_checkpoint(source.folder / "checkpoints/best.pt")["model"]
    found, random = state(run)["model"], state(fresh)["model"]
    assert all(torch.equal(found[name], given[name]) for name in found if not name.startswith("head."))
    heads = [name for name in found if name.startswith("head.")]
    assert all(_near(found[name], random[name]) for name in heads)
    assert not any(_near(found[name], given[name]) for name in heads)


def _near(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, atol=1e-6)


def test_saved_model_is_whole(tmp_path: Path) -> None:
    """What is saved can be loaded as any model, and scores what the report says."""
    run = train(tmp_path / "run", IDENTITY, "augment=[]", "transfer.cache=memory")
    saved = json.loads((run.folder / "model/model.json").read_text())["metrics"]
    best = max(row["mean_iou"] for row in run.metrics)
    assert saved["mean_iou"] == best

    model = create_model("unet_resnet18", num_classes=len(run.metrics[0]["per_class_iou"]), weights=run.folder)
    kept = read_checkpoint(run.folder / "checkpoints/best.pt")["model"]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((IDENTITY, "model.name=fast_scnn"), "'feature_identity': at 64x64 pixels FastSCNN does not return"),
        ((HOOK, "model.name=fcn8s"), "set transfer.tap to 'encoder'"),
        ((HOOK, FLIP, "transfer.cache=memory"), "set transfer.views"),
        ((IDENTITY, "transfer.tap=encoder"), "use strategy 'feature_hook'"),
        ((HOOK, "augment=[]", "transfer.views=2"), "means nothing without augment"),
        ((HOOK, "train.compile=true"), "not compiled"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: tuple[str, ...], message: str) -> None:
    """Each is told by name, and no run begins."""
    with pytest.raises(RecipeError, match=message):
        train(tmp_path / "run", *changes)
    assert not (tmp_path / "run/run.json").exists()


def test_model_without_decoder_is_tapped_at_its_encoder() -> None:
    """There is one place for a tap then, and asking for the other is refused."""
    model = nn.Module()
    model.encoder, model.head = nn.Identity(), nn.Identity()
    cut = build_cut(model, TransferSection(strategy="feature_hook"))
    assert cut is not None
    assert cut.frozen == ("encoder",)
    with pytest.raises(RecipeError, match="Module has none; set it to 'encoder'"):
        build_cut(model, TransferSection(strategy="feature_hook", tap="decoder"))


def test_frozen_random_weights_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Weights of an encoder alone leave a frozen decoder at random, which is worth a word; behind the tap it is not."""
    model = nn.Module()
    model.encoder, model.decoder, model.head = nn.Identity(), nn.Identity(), nn.Identity()
    random = ["decoder.0.weight", "head.weight"]
    warn_of_random_parts(CutBehindTap(model, "encoder"), random)
    assert not caplog.records
    warn_of_random_parts(CutBehindTap(model, "decoder"), random)
    assert "the decoder gives the features and stays at random weights" in caplog.text
