"""A run ends as it was asked to."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from segzoo.errors import Interrupted
from segzoo.recipe import Recipe, load_recipe
from segzoo.training.finetune import Run, finetune
from segzoo.training.loop import Trainer

SMALL = (
    "data.size=[48,64]",
    "data.image_size=[32,48]",
    'data.counts={"train":4,"val":2}',
    "train.batch_size=4",
    "train.epochs=1",
    "train.threads=1",
)


def small(*changes: str) -> Recipe:
    """Return the quickstart recipe at a size of one step."""
    return load_recipe("quickstart", (*SMALL, *changes))


@pytest.mark.parametrize(
    ("signum", "transfer"),
    [(signal.SIGINT, "frozen_encoder"), pytest.param(signal.SIGTERM, "scratch", marks=pytest.mark.slow)],
)
def test_a_late_signal_ends_the_run_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals, transfer: str
) -> None:
    """One that comes when the last step is done leaves a run that goes on: what is missing is drawn then."""
    changes = ("model.name=unet_resnet18", "model.weights=null", f"transfer.strategy={transfer}")
    train = Trainer.train

    def train_and_be_told(self: Trainer) -> None:
        train(self)
        signal.raise_signal(signum)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train", train_and_be_told)
        with pytest.raises(Interrupted, match=r"after step 1; the state is saved, go on with: .* --resume$") as caught:
            finetune(small(*changes), out=tmp_path / "run", device="cpu")
    assert caught.value.exit_code == 128 + signum
    record = Run(tmp_path / "run").record
    assert record is not None
    assert (record.status, record.error) == ("interrupted", None)

    run = finetune(small(*changes), out=tmp_path / "run", device="cpu", resume=True)

    assert run.record is not None
    assert run.record.status == "finished"
    assert (run.record.audit is not None) == (transfer == "frozen_encoder")
    assert run.samples.exists()
    assert len(run.metrics) == 1
