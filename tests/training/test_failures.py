"""What goes wrong while a run trains is told with its step, and costs nothing that was saved."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segzoo.data.loading import workers
from segzoo.errors import Interrupted, TrainingError
from segzoo.recipe import Recipe
from segzoo.runs.checkpoint import read_checkpoint
from segzoo.runs.rundir import RunDirectory
from segzoo.scoring.evaluation import Evaluation, Network, Stopped
from segzoo.training import building, session
from segzoo.training.finetune import Run, finetune
from segzoo.training.loop import Trainer
from segzoo.training.saving import Saving

Small = Callable[..., Recipe]

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(scope="module")
def run(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run."""
    return finetune(small(), out=tmp_path_factory.mktemp("runs") / "small", device="cpu")


def poison(trainer: Trainer, step: int) -> None:
    """Make the head NaN before a step."""
    if trainer.state.step == step:
        with torch.no_grad():
            for parameter in trainer.parts.model.get_submodule("head").parameters():
                parameter.fill_(math.nan)


def test_non_finite_loss_names_step_and_samples_and_keeps_the_checkpoint(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops, its status is failed, and the last good state is what a checkpoint still holds."""
    train_step: Any = Trainer._train_step

    def poisoned(self: Trainer, batch: Any) -> None:
        poison(self, 3)
        train_step(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", poisoned)
    told = r"the loss is not finite at step 4 \(epoch 2; samples train-\d+, "
    with pytest.raises(TrainingError, match=told) as caught:
        finetune(small("train.epochs=3"), out=tmp_path / "run", device="cpu")
    monkeypatch.undo()
    run = Run(tmp_path / "run")
    assert run.record is not None
    assert run.record.status == "failed"
    assert "not finite at step 4" in str(run.record.error)
    assert caught.value.exit_code == 1
    assert run.report.exists()
    state = read_checkpoint(run.folder / "checkpoints/last.pt")
    assert state["state"]["step"] == 2
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    resumed = finetune(small("train.epochs=3"), out=run.folder, device="cpu", resume=True)
    assert resumed.record is not None
    assert resumed.record.status == "finished"


def test_bad_weights_behind_a_finite_loss_never_replace_good_ones(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A buffer that overflowed after the loss was taken stops the run before anything is written."""
    train_step: Any = Trainer._train_step

    def poisoned(self: Trainer, batch: Any) -> None:
        train_step(self, batch)
        poison(self, 4)

    monkeypatch.setattr(Trainer, "_train_step", poisoned)
    with pytest.raises(TrainingError, match="the weights are not finite any more at step 4"):
        finetune(small(), out=tmp_path / "run", device="cpu")
    assert read_checkpoint(tmp_path / "run/checkpoints/last.pt")["state"]["step"] == 2
    assert json.loads((tmp_path / "run/model/model.json").read_text())["metrics"]["epoch"] == 1


def test_bad_weights_are_not_saved_by_a_signal_either(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A validation that is stopped saves the state: not before the check, which was begun before it, is read."""
    train_step: Any = Trainer._train_step

    def poisoned(self: Trainer, batch: Any) -> None:
        train_step(self, batch)
        poison(self, 4)

    def stopped(self: Trainer, epoch: int) -> Evaluation | None:
        if epoch == 2:
            raise Stopped
        return validate(self, epoch)

    validate = Trainer._validate
    monkeypatch.setattr(Trainer, "_train_step", poisoned)
    monkeypatch.setattr(Trainer, "_validate", stopped)
    with pytest.raises(TrainingError, match="the weights are not finite any more at step 4"):
        finetune(small(), out=tmp_path / "run", device="cpu")
    assert read_checkpoint(tmp_path / "run/checkpoints/last.pt")["state"]["step"] == 2


@pytest.mark.parametrize("reason", ["checkpoint", "signal"])
def test_bad_weights_are_not_saved_in_the_middle_of_an_epoch(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """A checkpoint that is due, and one that a signal asks for, are refused as one at the end of an epoch is."""
    train_step: Any = Trainer._train_step

    def poisoned(self: Trainer, batch: Any) -> None:
        train_step(self, batch)
        poison(self, 3)
        if self.state.step == 3 and reason == "signal":
            self.stop.signum = signal.SIGTERM

    monkeypatch.setattr(Trainer, "_train_step", poisoned)
    every = ("train.checkpoint_every_steps=3",) if reason == "checkpoint" else ()
    with pytest.raises(TrainingError, match="the weights are not finite any more at step 3"):
        finetune(small(*every), out=tmp_path / "run", device="cpu")
    assert read_checkpoint(tmp_path / "run/checkpoints/last.pt")["state"]["step"] == 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError("Unable to allocate 8 GiB"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(
    ("mode", "call", "told"),
    [
        ("train", 3, r"out of memory at step 3 \(epoch 2; samples train-\d+, .* --set train.batch_size=2"),
        ("eval", 2, r"out of memory in the validation after step 4; try --set"),
    ],
)
def test_out_of_memory_suggests_a_batch_size(
    small: Small,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    mode: str,
    call: int,
    told: str,
) -> None:
    """The message has the step with its samples and half of the batch size; the run failed, and goes on to the bit."""
    forward: Any = Network.logits
    calls: list[None] = []

    def exhausted(self: Network, images: Tensor) -> Tensor:
        calls.extend([None] * (self.model.training == (mode == "train")))
        if len(calls) == call:
            raise error
        return forward(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(Network, "logits", exhausted)
        with pytest.raises(TrainingError, match=told) as caught:
            finetune(small(), out=tmp_path / "run", device="cpu")

    assert caught.value.exit_code == 1
    assert_resumable(small, run, tmp_path / "run", str(caught.value))


def test_samples_of_a_large_step_are_counted(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message lists 64 of them and how many more there are."""

    def exhausted(self: Trainer, batch: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Trainer, "_train_step", exhausted)
    with pytest.raises(TrainingError, match=r"train-\d+ and 6 more\); try --set train.batch_size=35,") as caught:
        finetune(small('data.counts={"train":70,"val":1}', "train.batch_size=70"), out=tmp_path / "run", device="cpu")
    assert str(caught.value).count("train-") == 64


@pytest.mark.parametrize("place", ["try_first_batch", "build_from_spec", "build_optimizer"])
def test_out_of_memory_before_training_leaves_nothing(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The first batch, the model or the optimizer may be too large already: the same words, and no run begins."""

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 18.8 GiB")

    monkeypatch.setattr(building, place, exhausted)
    with pytest.raises(TrainingError, match=r"^out of memory before the first step; try --set train\.batch_size=2, "):
        finetune(small(), out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_out_of_memory_on_resuming_keeps_the_checkpoint(
    small: Small, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is restored may be too large as well; the run failed, and goes on to the bit."""

    def exhausted(self: Saving, saved: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    finetune(small("train.epochs=1"), out=tmp_path / "run", device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(Saving, "restore", exhausted)
        with pytest.raises(TrainingError, match=r"^out of memory before the first step; try --set") as caught:
            finetune(small(), out=tmp_path / "run", device="cpu", resume=True)
    assert_resumable(small, run, tmp_path / "run", str(caught.value))


def assert_resumable(small: Small, whole: Run, folder: Path, error: str, *changes: str) -> None:
    """Check that a run failed with the error, and ends with the bits of the whole run when it is resumed."""
    record = Run(folder).record
    assert record is not None
    assert (record.status, record.error) == ("failed", error)
    resumed = finetune(small(*changes), out=folder, device="cpu", resume=True)
    weights = [(each.model / "model.safetensors").read_bytes() for each in (whole, resumed)]
    assert weights[0] == weights[1]
    assert resumed.record is not None
    assert (resumed.record.status, resumed.record.error) == ("finished", None)


def test_killed_worker_names_the_step(small: Small, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that the system kills in the middle of a run ends it by name; it goes on without workers to the bit."""
    train_step: Any = Trainer._train_step

    def killing(self: Trainer, batch: Any) -> None:
        train_step(self, batch)
        if self.state.step == 3:
            for worker in multiprocessing.active_children():
                worker.kill()
            time.sleep(60)  # torch is told of the death while it lasts

    told = r"a data worker died or hung at step 4 \(epoch 2; samples train-\d+, .*: DataLoader worker .*Killed"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", killing)
        with pytest.raises(TrainingError, match=told) as caught:
            finetune(small("train.workers=2"), out=tmp_path / "run", device="cpu")

    assert caught.value.exit_code == 1
    assert not multiprocessing.active_children()
    assert_resumable(small, run, tmp_path / "run", str(caught.value), "train.workers=0")


def test_hanging_worker_names_the_step(small: Small, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that gives no batch any more is not waited for without end."""
    monkeypatch.setattr(workers, "WORKER_TIMEOUT_S", 2)
    train_step: Any = Trainer._train_step

    def stopping(self: Trainer, batch: Any) -> None:
        if self.state.step == 0:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid or 0, signal.SIGSTOP)
        train_step(self, batch)

    changes = ("train.workers=2", 'data.counts={"train":33,"val":3}', "train.epochs=1")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stopping)
        with pytest.raises(TrainingError, match=r"a data worker died or hung at step \d+ \(epoch 1; samples train-"):
            finetune(small(*changes), out=tmp_path / "run", device="cpu")

    assert not multiprocessing.active_children()
    resumed = finetune(small(*changes), out=tmp_path / "run", device="cpu", resume=True)
    assert resumed.metrics[-1]["step"] == 8


def draw_and_catch(trainer: Trainer, run: RunDirectory) -> None:
    """Be asked to stop while a library that catches every exception draws."""
    with suppress(Exception):
        signal.raise_signal(signal.SIGTERM)


def test_signals_after_the_last_step_are_obeyed(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the last validation, while a resumed run makes up for it, and in the figures: interrupted, then finished."""
    validate: Any = Trainer._validate

    def ask(self: Trainer, epoch: int) -> Any:
        if self.state.step == 4:
            signal.raise_signal(signal.SIGTERM)
        return validate(self, epoch)

    def ask_after(self: Trainer, epoch: int) -> Any:
        score = validate(self, epoch)
        signal.raise_signal(signal.SIGTERM)
        return score

    stops: tuple[tuple[Any, str, Any], ...] = (
        (Trainer, "_validate", ask),
        (Trainer, "_validate", ask_after),
        (session, "draw_figures", draw_and_catch),
    )
    for owner, name, asking in stops:
        with monkeypatch.context() as patch:
            patch.setattr(session, "draw_figures", lambda trainer, run: pytest.fail("it went on"))
            patch.setattr(owner, name, asking)
            with pytest.raises(Interrupted) as caught:
                finetune(small(), out=tmp_path / "run", device="cpu", resume=True)
        assert caught.value.exit_code == 143
        record = Run(tmp_path / "run").record
        assert record is not None
        assert record.status == "interrupted"

    run = finetune(small(), out=tmp_path / "run", device="cpu", resume=True)
    assert run.record is not None
    assert run.record.status == "finished"
    assert [row["step"] for row in run.metrics] == [2, 4]


def test_an_error_of_the_code_itself_is_not_dressed_up(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug passes through as it is, and the run is marked as failed."""

    def broken(self: Trainer, batch: Any) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Trainer, "_train_step", broken)
    with pytest.raises(RuntimeError, match=r"^shape mismatch$"):
        finetune(small(), out=tmp_path / "run", device="cpu")
    record = Run(tmp_path / "run").record
    assert record is not None
    assert (record.status, record.error) == ("failed", "RuntimeError: shape mismatch")
