"""One run from its recipe to its report, in this process and at a small size."""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
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
from segzoo.plugins import default_registry
from segzoo.recipe import Recipe, load_recipe, resolve_recipe
from segzoo.runs.checkpoint import BEST, read_checkpoint, save_checkpoint
from segzoo.runtime import device, distributed
from segzoo.runtime.signals import StopRequest
from segzoo.training import building, session
from segzoo.training.dry_run import check_run
from segzoo.training.finetune import Run, finetune
from segzoo.training.loop import Trainer

Small = Callable[..., Recipe]

# The run of the fixture alone has them.
pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(scope="module")
def run(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run."""
    return finetune(small(), out=tmp_path_factory.mktemp("runs") / "small", device="cpu")


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


def binary_folder(folder: Path) -> str:
    """Write images with masks of 0 and 255, and return the recipe's data section."""
    rng = np.random.default_rng(0)
    for kind, pixels in (("images", (3,)), ("masks", ())):
        (folder / kind).mkdir(parents=True)
        for number in range(6):
            values = rng.integers(0, 256, (32, 32, *pixels)) if pixels else 255 * rng.integers(0, 2, (32, 32))
            Image.fromarray(values.astype(np.uint8)).save(folder / kind / f"{number}.png")
    section = {
        "format": "folder",
        "root": str(folder),
        "images": "images",
        "masks": "masks",
        "classes": [{"name": "background"}, {"name": "crack"}],
        "splits": {"train": 0.7, "val": 0.3},
    }
    return f"data={json.dumps(section)}"


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
        save = Trainer._save

        def stop(self: Trainer, *, best: bool = False) -> None:
            save(self, best=best)
            raise KeyboardInterrupt

        patch.setattr(Trainer, "_save", stop)
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


def test_dry_run_counts_parameters_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The model is built, absent data is warned of, no weights are touched and no file is written."""
    monkeypatch.chdir(tmp_path)
    recipe = resolve_recipe(load_recipe("voc_unet_resnet34"), default_registry())
    assert check_run(recipe) == 24_553_065
    assert "the data is not there yet: no PASCAL VOC 2012 in data/voc" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_dry_run_fetches_nothing_into_a_folder_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a failed download left behind does not make a dry run download."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "voc").mkdir(parents=True)
    check_run(resolve_recipe(load_recipe("voc_unet_resnet34"), default_registry()))
    assert "the data is not there yet" in caplog.text


def test_dry_run_refuses_data_that_is_there_and_faulty(small: Small, tmp_path: Path) -> None:
    """A mask without its image is a fault, not a folder that is still to come."""
    recipe = small(binary_folder(tmp_path / "data"))
    (tmp_path / "data/images/0.png").unlink()
    with pytest.raises(DataError, match=r"0\.png: no image in"):
        check_run(resolve_recipe(recipe, default_registry()))


def test_dry_run_checks_the_device(small: Small, tmp_path: Path) -> None:
    """A device that is not there is told without training."""
    with pytest.raises(DeviceError, match="'cuda:99' is not here"):
        check_run(resolve_recipe(small(), default_registry()), device="cuda:99")


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
