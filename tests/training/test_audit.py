"""A run that froze something ends with the audit's result and with two evaluation passes compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segzoo.data.loading.loaders import EvalBatch
from segzoo.errors import TrainingError
from segzoo.recipe import load_recipe
from segzoo.scoring.evaluation import Network, Stopped
from segzoo.training.audit import compare_passes
from segzoo.training.finetune import Run, finetune

pytestmark = pytest.mark.usefixtures("no_figures")

SMALL = (
    "model.name=unet_resnet18",
    "model.weights=null",
    "data.size=[32,32]",
    "data.image_size=[32,32]",
    'data.counts={"train":4,"val":2}',
    "train.batch_size=2",
    "train.threads=1",
)


def train(folder: Path, *changes: str) -> Run:
    """Train a small recipe."""
    return finetune(load_recipe("quickstart", (*SMALL, *changes)), out=folder, device="cpu")


def batches(count: int) -> list[EvalBatch]:
    """Return batches of two images."""
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    return [EvalBatch(images, (torch.zeros(4, 4, dtype=torch.uint8),) * 2, ("a", "b"))] * count


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        (("transfer.strategy=frozen_encoder", "train.epochs=2"), 2),
        (("transfer.strategy=finetune", "transfer.unfreeze_encoder_at=2", "train.epochs=2", "train.ema_decay=0.5"), 1),
    ],
    ids=["frozen", "thawed"],
)
def test_result_is_recorded(tmp_path: Path, changes: tuple[str, ...], epochs: int) -> None:
    """run.json and the page tell what was frozen, for how many epochs, and that two passes are equal to the bit."""
    run = train(tmp_path / "run", *changes)

    audit = json.loads((run.folder / "run.json").read_text())["audit"]
    assert audit == {
        "parts": ["encoder"],
        "parameters": 60,
        "buffers": 60,
        "epochs": epochs,
        "unchanged": True,
        "passes": {"images": 2, "equal": True, "largest_difference": 0.0},
    }
    assert f"60 parameters and 60 buffers, unchanged; epochs audited: {epochs}" in run.report.read_text()


def test_a_run_that_freezes_nothing_has_no_audit(tmp_path: Path) -> None:
    """Its record says so, and the first batch is there all the same."""
    record = train(tmp_path / "run", "transfer.strategy=scratch", "train.epochs=1").record
    assert record is not None
    assert record.audit is None
    assert record.first_batch is not None
    assert (record.first_batch.images, record.first_batch.size) == (2, (32, 32))


def test_chance_in_evaluation_mode_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout that does not look at the mode is told, with how far it moves the logits and where the weights are."""
    logits = Network.logits
    monkeypatch.setattr(Network, "logits", lambda self, images: nn.functional.dropout(logits(self, images), 0.5))

    with pytest.raises(TrainingError, match=r"two evaluation passes over the same 2 images differ by up to \d"):
        train(tmp_path / "run", "transfer.strategy=frozen_encoder", "train.epochs=1")

    record = Run(tmp_path / "run").record
    assert record is not None
    assert record.status == "failed"
    assert "something random" in str(record.error)
    assert (tmp_path / "run/model/model.safetensors").exists()


def test_difference_is_measured_over_all_batches() -> None:
    """A single pass that is off counts, with its distance; all images are counted."""
    offsets = iter([0.0, 0.0, 0.0, 0.25, 0.0, 0.125])

    def predict(images: Tensor) -> Tensor:
        return images.float() * 0 + next(offsets)

    record = compare_passes(predict, batches(3), should_stop=lambda: False)

    assert (record.images, record.equal, record.largest_difference) == (6, False, 0.25)


def test_bits_are_compared() -> None:
    """Zeros of another sign differ, NaN in the same place does not."""
    signs = iter([0.0, -0.0])
    signed = compare_passes(lambda images: torch.full((2, 2), next(signs)), batches(1), should_stop=lambda: False)
    same = compare_passes(lambda images: torch.full((2, 2), torch.nan), batches(1), should_stop=lambda: False)

    assert (signed.equal, same.equal) == (False, True)
    assert same.largest_difference == 0.0


def test_it_stops_when_asked() -> None:
    """A signal ends it before the next batch."""
    with pytest.raises(Stopped):
        compare_passes(lambda images: images.float(), batches(1), should_stop=lambda: True)
