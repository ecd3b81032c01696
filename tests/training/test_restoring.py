"""A run that goes on takes everything from its checkpoint that it needs, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from segzoo.errors import (
    UsageFault,
)
from segzoo.recipe import Recipe
from segzoo.runs.checkpoint import BEST, read_checkpoint, save_checkpoint
from segzoo.training import building, session
from segzoo.training.finetune import Run, finetune
from segzoo.training.saving import Saving

Small = Callable[..., Recipe]

# The run of the fixture alone has them.
pytestmark = pytest.mark.usefixtures("no_figures")


def test_resume_announces_another_thread_count(small: Small, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bits depend on the threads, so a change is told."""
    finetune(small("train.epochs=1"), out=tmp_path / "run", device="cpu")
    state = tmp_path / "run/checkpoints/last.pt"
    saved = read_checkpoint(state)
    saved["environment"]["threads"] = 7
    save_checkpoint(state.parent, saved, best=False)
    finetune(small("train.epochs=2"), out=tmp_path / "run", device="cpu", resume=True)
    assert "resuming is not bit for bit: threads 7 -> 1" in caplog.text


@pytest.fixture
def warm(small: Small, run: Run, tmp_path: Path) -> Recipe:
    """Return a recipe that starts from a run of its own."""
    shutil.copytree(run.folder, tmp_path / "start")
    return small("transfer.strategy=finetune", f"model.weights={tmp_path / 'start'}")


def stop_after_an_epoch(recipe: Recipe, folder: Path) -> None:
    """Leave a run behind that was interrupted after its first checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        save = Saving.save

        def stop(self: Saving, *, best: bool = False) -> None:
            save(self, best=best)
            raise KeyboardInterrupt

        patch.setattr(Saving, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            finetune(recipe, out=folder, device="cpu")


def test_resume_needs_no_weights_that_the_checkpoint_replaces(warm: Recipe, tmp_path: Path) -> None:
    """Where they came from may be gone: the run ends with the same bits, and still says what it started from."""
    whole = finetune(warm, out=tmp_path / "whole", device="cpu")
    stop_after_an_epoch(warm, tmp_path / "run")
    shutil.rmtree(tmp_path / "start")

    resumed = finetune(warm, out=tmp_path / "run", device="cpu", resume=True)

    weights = [(each.model / "model.safetensors").read_bytes() for each in (whole, resumed)]
    assert weights[0] == weights[1]
    assert resumed.record is not None
    assert resumed.record.weights == f"weights from {tmp_path / 'start/model'}"
    described = json.loads((resumed.model / "model.json").read_text())
    assert described["provenance"]["pretrained"] == resumed.record.weights
    assert json.loads((resumed.folder / "recipe.json").read_text())["model"]["weights"] == str(tmp_path / "start")


@pytest.fixture
def without_checkpoint(warm: Recipe, tmp_path: Path) -> Recipe:
    """Leave a run behind as a kill does that comes before its first checkpoint is whole, and return its recipe."""
    stop_after_an_epoch(warm, tmp_path / "run")
    for path in (tmp_path / "run/checkpoints").iterdir():
        if path.name != BEST:
            path.unlink()
    assert (tmp_path / "run/checkpoints" / BEST).exists()
    return warm


def test_resume_without_a_checkpoint_starts_from_the_weights(
    without_checkpoint: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run begins again, so its weights are needed once more."""
    loaded: list[str] = []
    load = building.load_pretrained
    monkeypatch.setattr(
        building, "load_pretrained", lambda *given, **named: loaded.append(given[2]) or load(*given, **named)
    )

    finetune(without_checkpoint, out=tmp_path / "run", device="cpu", resume=True)

    assert loaded == [str(tmp_path / "start")]


def test_resume_without_a_checkpoint_misses_the_weights(
    without_checkpoint: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is nothing to go on with, weights that are gone are told before anything is built."""
    shutil.rmtree(tmp_path / "start")
    monkeypatch.setattr(session, "train_run", lambda *_, **__: pytest.fail("it trained"))
    for folder in ("run", "new"):
        with pytest.raises(UsageFault, match=f"no file or run directory is named '{tmp_path / 'start'}'"):
            finetune(without_checkpoint, out=tmp_path / folder, device="cpu", resume=True)
    assert not (tmp_path / "new").exists()


def test_damaged_checkpoint_is_announced_and_the_previous_one_used(
    small: Small, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit in last.pt costs an epoch, not the run."""
    run = finetune(small(), out=tmp_path / "run", device="cpu")
    last = run.folder / "checkpoints/last.pt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.unlink()
    last.write_bytes(content)
    finetune(small("train.epochs=3"), out=run.folder, device="cpu", resume=True)
    assert "damaged checkpoint" in caplog.text
    assert [row["epoch"] for row in run.metrics] == [1, 2, 3]


def test_a_run_of_another_device_goes_on_with_the_kernels_of_this_one(small: Small, tmp_path: Path) -> None:
    """A checkpoint that fused kernels left behind, as on a GPU, resumes on the CPU without them, to the same bits."""
    finetune(small("train.epochs=1"), out=tmp_path / "plain", device="cpu")
    shutil.copytree(tmp_path / "plain", tmp_path / "moved")
    checkpoints = tmp_path / "moved" / "checkpoints"
    state = read_checkpoint(checkpoints / "last.pt")
    assert {group["fused"] for group in state["optimizer"]["param_groups"]} == {False}
    for group in state["optimizer"]["param_groups"]:
        group["fused"] = True
    save_checkpoint(checkpoints, state, best=False)

    for name in ("plain", "moved"):
        finetune(small(), out=tmp_path / name, device="cpu", resume=True)

    plain, moved = (read_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("plain", "moved"))
    assert {group["fused"] for group in moved["optimizer"]["param_groups"]} == {False}
    assert all(torch.equal(tensor, moved["model"][name]) for name, tensor in plain["model"].items())
