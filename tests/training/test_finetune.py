"""One run from its recipe to its report, in this process and at a small size."""

from __future__ import annotations

import json
import math
import re
import signal
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import segzoo
from segzoo.errors import (
    DataError,
    DeviceError,
    Interrupted,
    RecipeError,
    RunDirectoryError,
    UsageFault,
)
from segzoo.recipe import Recipe, load_recipe
from segzoo.runs.checkpoint import read_checkpoint, save_checkpoint
from segzoo.runtime import device, distributed
from segzoo.runtime.launch import Launch
from segzoo.runtime.signals import StopRequest
from segzoo.training.finetune import Run, _check_launch, finetune
from segzoo.training.loop import Trainer
from tests.made_runs import binary_folder

Small = Callable[..., Recipe]

# The run of the fixture alone has them.
pytestmark = pytest.mark.usefixtures("no_figures")


def test_run_directory_is_complete(run: Run) -> None:
    """Every file of the contract is there, and nothing else; TensorBoard's own only where it is installed."""
    found = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    events = {name for name in found if name.startswith("tensorboard/events.out.tfevents.")}
    assert bool(events) == (find_spec("tensorboard") is not None)
    assert found - events == {
        ".lock",
        "recipe.json",
        "run.json",
        "splits.json",
        "metrics.jsonl",
        "report.html",
        *(f"checkpoints/{name}.pt" for name in ("last", "previous", "best")),
        *(f"model/model.{suffix}" for suffix in ("json", "safetensors")),
        *(f"figures/{name}" for name in ("curves.png", "confusion.png", "samples.png", "learning.gif")),
        *(f"figures/learning/000{epoch}.png" for epoch in (1, 2)),
    }


def test_metrics_have_every_key_and_no_nan(run: Run) -> None:
    """One line for each epoch with the keys of the contract; a number is finite or null."""
    text = (run.folder / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert [row["epoch"] for row in run.metrics] == [1, 2]
    for row in run.metrics:
        assert set(row) == {
            *("epoch", "step", "train_loss", "val_loss", "mean_iou", "pixel_accuracy", "mean_dice"),
            *("per_class_iou", "lr", "images_per_second", "data_wait", "seconds"),
        }
        assert set(row["per_class_iou"]) == {"background", "disk", "square", "triangle", "ring"}
        assert set(row["lr"]) == {"encoder", "decoder", "head"}
        assert math.isfinite(row["train_loss"])
        assert 0 < row["data_wait"] < 1


def test_record_tells_what_happened(run: Run) -> None:
    """run.json holds status, versions, device, threads, data and recipe."""
    record = run.record
    assert record is not None
    assert (record.status, record.error, record.device, record.threads, record.seed) == ("finished", None, "cpu", 1, 0)
    assert torch.__version__.startswith(str(record.versions["torch"]))
    assert record.data is not None
    assert record.data.images == {"train": 9, "val": 3}
    assert record.parameters == sum(p.numel() for p in segzoo.create_model("fast_scnn", num_classes=5).parameters())


def test_recipe_in_the_run_is_resolved_and_runs_again(run: Run, tmp_path: Path) -> None:
    """The stored recipe has full ids and gives the same weights when it is run."""
    path = run.folder / "recipe.json"
    assert json.loads(path.read_text())["model"]["name"] == "segzoo/fast_scnn"
    again = finetune(load_recipe(path), out=tmp_path / "again", device="cpu")
    weights = [(each.model / "model.safetensors").read_bytes() for each in (run, again)]
    assert weights[0] == weights[1]


def test_model_is_the_best_epoch_and_can_be_rebuilt(run: Run) -> None:
    """model.json is enough to build the model, and its weights are those of best.pt."""
    description = json.loads((run.model / "model.json").read_text())
    model = segzoo.create_model(
        description["id"],
        num_classes=description["num_classes"],
        in_channels=description["in_channels"],
        **description["params"],
    )
    tensors = load_file(run.model / "model.safetensors")
    model.load_state_dict(tensors)
    best = read_checkpoint(run.folder / "checkpoints/best.pt")["model"]
    assert all(torch.equal(tensors[name], best[name]) for name in best)
    top = max(run.metrics, key=lambda row: row["mean_iou"])
    assert description["metrics"]["epoch"] == top["epoch"]
    assert description["metrics"]["mean_iou"] == top["mean_iou"]
    assert description["palette"] == [entry["color"] for entry in description["classes"]]


def test_best_weights_are_scored_in_detail(run: Run) -> None:
    """Beside the scores of their epoch stand intervals, further scores and the passport."""
    metrics = json.loads((run.model / "model.json").read_text())["metrics"]
    for name in ("mean_iou", "pixel_accuracy", "mean_dice"):
        low, high = metrics["intervals"][name]
        assert low <= metrics["scores"][name] <= high
        assert metrics["scores"][name] == pytest.approx(metrics[name], abs=1e-12)
    assert 0 <= metrics["scores"]["boundary_f1"] <= 1
    assert {name: row["iou"] for name, row in metrics["per_class"].items()} == metrics["per_class_iou"]
    assert (metrics["passport"]["split"], metrics["passport"]["images"]) == ("val", 3)
    assert metrics["passport"]["image_size"] == [32, 48]


def test_splits_are_recorded(run: Run) -> None:
    """The names of the samples of each split stand in the run."""
    splits = json.loads((run.folder / "splits.json").read_text())
    assert {split: len(names) for split, names in splits.items()} == {"train": 9, "val": 3}
    assert splits["val"] == ["val-000000", "val-000001", "val-000002"]


def test_finished_run_is_left_alone_on_resume(small: Small, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """--resume on a finished run changes no file and trains nothing."""
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(Trainer, "train", lambda self: pytest.fail("it trained"))
    assert finetune(small(), out=run.folder, device="cpu", resume=True).folder == run.folder
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()} == before


def test_existing_run_is_refused(small: Small, run: Run) -> None:
    """Without a wish the run stays."""
    with pytest.raises(RunDirectoryError, match="exists; pass --resume"):
        finetune(small(), out=run.folder, device="cpu")


def test_longer_run_goes_on(small: Small, tmp_path: Path) -> None:
    """More epochs than before continue from the checkpoint, and lines are neither lost nor doubled."""
    finetune(small("train.epochs=1"), out=tmp_path / "run", device="cpu")
    run = finetune(small("train.epochs=3"), out=tmp_path / "run", device="cpu", resume=True)
    assert [(row["epoch"], row["step"]) for row in run.metrics] == [(1, 2), (2, 4), (3, 6)]


def test_partial_last_epoch_gets_its_line_and_is_replaced_when_the_run_grows(small: Small, tmp_path: Path) -> None:
    """max_steps inside an epoch validates it; a longer run writes that epoch's line anew."""
    run = finetune(small("train.max_steps=3"), out=tmp_path / "run", device="cpu")
    assert [(row["epoch"], row["step"]) for row in run.metrics] == [(1, 2), (2, 3)]
    run = finetune(small("train.max_steps=4"), out=tmp_path / "run", device="cpu", resume=True)
    assert [(row["epoch"], row["step"]) for row in run.metrics] == [(1, 2), (2, 4)]


def test_epochs_without_validation_have_nulls(small: Small, tmp_path: Path) -> None:
    """every_epochs leaves validation out, except on the last epoch."""
    run = finetune(small("train.epochs=3", "eval.every_epochs=2"), out=tmp_path / "run", device="cpu")
    assert [row["mean_iou"] is None for row in run.metrics] == [True, False, False]


def test_seed_decides_everything(small: Small, run: Run, tmp_path: Path) -> None:
    """Another seed gives other data, another start and so other weights."""
    other = finetune(small("train.seed=1"), out=tmp_path / "run", device="cpu")
    assert (run.model / "model.safetensors").read_bytes() != (other.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        ("train.precision=bf16", "train.channels_last=true"),
        ("train.grad_clip=0.1", 'optimizer={"name":"sgd","lr":0.01}'),
        ('loss=[{"name":"cross_entropy","class_weights":"median_frequency"},{"name":"dice","weight":0.5}]',),
        ('loss=[{"name":"cross_entropy","class_weights":"enet","label_smoothing":0.1}]',),
        ('loss=[{"name":"focal"},{"name":"distance_focal"},{"name":"lovasz"},{"name":"jaccard"},{"name":"tversky"}]',),
        ('loss=[{"name":"ohem","min_kept":100},{"name":"boundary_cross_entropy"}]', "train.precision=bf16"),
        ('scheduler={"name":"constant"}',),
        ('scheduler={"name":"onecycle","max_lr":0.01}', "train.accumulate=2"),
        ("train.ema_decay=0.9", 'scheduler={"name":"plateau","patience":0}'),
        ("train.precision=fp16", "transfer.strategy=finetune", "transfer.layer_decay=0.5"),
        ("transfer.strategy=frozen_encoder", "model.name=unet_resnet18", "model.weights=null"),
        ("train.deterministic=true", "eval.batch_size=2", "transfer.encoder_lr_scale=0.1"),
    ],
    ids=lambda changes: changes[0],
)
def test_options_act(small: Small, run: Run, tmp_path: Path, changes: tuple[str, ...]) -> None:
    """Each option changes the weights, and the loss stays finite."""
    other = finetune(small(*changes), out=tmp_path / "run", device="cpu")
    assert math.isfinite(other.metrics[-1]["train_loss"])
    assert (run.model / "model.safetensors").read_bytes() != (other.model / "model.safetensors").read_bytes()


def test_encoder_learning_rate_is_scaled(small: Small, tmp_path: Path) -> None:
    """encoder_lr_scale acts on the encoder's group alone."""
    run = finetune(small("transfer.encoder_lr_scale=0.1", "train.epochs=1"), out=tmp_path / "run", device="cpu")
    rates = run.metrics[0]["lr"]
    assert rates["encoder"] == pytest.approx(0.1 * rates["decoder"])
    assert rates["head"] == rates["decoder"]


def test_binary_masks_read_as_indices_are_told(small: Small, tmp_path: Path) -> None:
    """255 is the ignored label: a model would never see the object, so the run says how to read such masks."""
    data = binary_folder(tmp_path / "data")
    with pytest.raises(DataError, match=r"no training mask holds 'crack'; .* ignored label 255.*mask_mode to 'binary'"):
        finetune(small(data), out=tmp_path / "run", device="cpu")
    recipe = small(data, "data.mask_mode=binary")
    run = finetune(recipe, out=tmp_path / "run", device="cpu")
    assert set(run.metrics[0]["per_class_iou"]) == {"background", "crack"}


def test_a_class_that_no_training_mask_holds_is_warned_of(
    small: Small, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Training goes on with the classes that there are."""
    finetune(small("train.epochs=1", 'data.counts={"train":2,"val":2}'), out=tmp_path / "run", device="cpu")
    assert "no training mask holds '" in caplog.text


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (('data={"format":"camvid","root":"/nowhere"}',), DataError, "data folder /nowhere is missing"),
        (('loss=[{"name":"cross_entropy","class_weights":[1,2]}]',), RecipeError, "2 numbers, but .* 5 classes"),
        (("train.batch_size=1",), UsageFault, "batch_size 1: .*global_feature_extractor"),
        (('augment=[{"name":"HorizontalFlip","p":0.5},{"name":"Rotate","limit":"x"}]',), RecipeError, "augment.1: Rot"),
    ],
    ids=str,
)
def test_a_fault_found_before_training_leaves_nothing_behind(
    small: Small, tmp_path: Path, changes: tuple[str, ...], error: type[Exception], message: str
) -> None:
    """It is told by name before step 0, and the next attempt finds no run in its way."""
    recipe = small(*changes)
    with pytest.raises(error, match=message):
        finetune(recipe, out=tmp_path / "run", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_overwrite_begins_anew(small: Small, tmp_path: Path) -> None:
    """The old run's checkpoints are no state to go on from."""
    run = finetune(small("train.epochs=1"), out=tmp_path / "run", device="cpu")
    weights = (run.model / "model.safetensors").read_bytes()
    finetune(small("train.epochs=1", "train.seed=1"), out=run.folder, device="cpu", overwrite=True)
    assert [row["epoch"] for row in run.metrics] == [1]
    assert (run.model / "model.safetensors").read_bytes() != weights


def test_overwrite_with_a_fault_keeps_the_old_run(small: Small, tmp_path: Path) -> None:
    """A typo in the new recipe does not cost the old run."""
    run = finetune(small(), out=tmp_path / "run", device="cpu")
    weights = (run.model / "model.safetensors").read_bytes()
    with pytest.raises(UsageFault, match="batch_size 1"):
        finetune(small("train.batch_size=1"), out=run.folder, device="cpu", overwrite=True)
    assert (run.model / "model.safetensors").read_bytes() == weights
    assert run.record is not None
    assert run.record.status == "finished"


def test_missing_device_is_named(small: Small, tmp_path: Path) -> None:
    """Where there is no such device the message says what there is."""
    with pytest.raises(DeviceError, match=r"'cuda:99' is not here; there is .*cpu"):
        finetune(small(), out=tmp_path / "run", device="cuda:99")


def test_synchronised_batch_norms_of_one_process(
    small: Small, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are ordinary ones, and the log says so."""
    with caplog.at_level("INFO", logger="segzoo"):
        finetune(small("train.sync_batchnorm=true", "train.max_steps=1"), out=tmp_path / "run", device="cpu")
    assert "with one process a batch norm sees the whole batch" in caplog.text


def test_model_file_holds_every_tensor(small: Small, tmp_path: Path) -> None:
    """A finished model holds every tensor of the network, buffers too."""
    run = finetune(small("train.epochs=1"), out=tmp_path / "run", device="cpu")
    model: nn.Module = segzoo.create_model("fast_scnn", num_classes=5)
    assert set(load_file(run.model / "model.safetensors")) == set(model.state_dict())


def test_waiting_of_a_stopped_epoch_counts(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint inside an epoch holds how long it waited, and the line of the resumed epoch adds up."""
    with monkeypatch.context() as patched:
        patched.setattr(StopRequest, "after_step", lambda self: setattr(self, "signum", signal.SIGTERM))
        with pytest.raises(Interrupted):
            finetune(small("train.epochs=1"), out=tmp_path / "run", device="cpu")
    checkpoints = tmp_path / "run/checkpoints"
    saved = read_checkpoint(checkpoints / "last.pt")
    assert 0 < saved["state"]["epoch_wait"] <= saved["state"]["epoch_seconds"]
    saved["state"].update(epoch_wait=3e6, epoch_seconds=4e6)
    save_checkpoint(checkpoints, saved, best=False)

    (row,) = finetune(small("train.epochs=1"), out=tmp_path / "run", device="cpu", resume=True).metrics

    assert row["data_wait"] == 0.75
    assert row["seconds"] > 4e6


def test_cublas_is_set_before_processes_meet_and_recorded(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meeting starts CUDA, which reads the setting once; run.json has what it was."""
    order: list[object] = []
    join = distributed.join

    def fix(chosen: torch.device, *, deterministic: bool) -> str:
        order.append((chosen.type, deterministic))
        return ":16:8"

    monkeypatch.setattr(device, "fix_cublas", fix)
    monkeypatch.setattr(distributed, "join", lambda *given: (order.append("join"), join(*given))[1])
    run = finetune(small("train.deterministic=true", "train.epochs=1"), out=tmp_path / "run", device="cpu")

    assert order == [("cpu", True), "join"]
    assert run.record is not None
    assert run.record.cublas_workspace == ":16:8"


@pytest.mark.parametrize(
    ("batch", "strategy", "message"),
    [
        (4, "finetune", None),
        (5, "finetune", "train.batch_size 5 is the batch of the whole run, and 2 processes cannot share it out"),
        (4, "feature_hook", "transfer.strategy 'feature_hook' trains a head in one process, not in 2"),
    ],
)
def test_what_processes_cannot_share_is_refused(batch: int, strategy: str, message: str | None) -> None:
    """A batch must divide evenly, and features belong to one process; the value and the number are named."""
    changes = (f"train.batch_size={batch}", f"transfer.strategy={strategy}")
    launch = Launch(rank=0, size=2, local_rank=0, local_size=2)
    with nullcontext() if message is None else pytest.raises(RecipeError, match=re.escape(message)):
        _check_launch(load_recipe("quickstart", changes), launch)
