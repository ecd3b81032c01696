"""Training on CUDA: whole runs, single steps, and what is evaluated between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from segzoo.errors import TrainingError
from segzoo.recipe import Recipe
from segzoo.recipe.schema import LossTerm
from segzoo.runtime.distributed import ALONE
from segzoo.scoring.evaluation import score_split
from segzoo.training.epoch import PREVIEWS
from segzoo.training.finetune import finetune
from segzoo.training.parts import Parts
from segzoo.training.saving import Saving
from segzoo.training.steps.graph_step import WARM_UP, GraphStep
from segzoo.training.supply import Supply

UNET = ("model.name=unet_resnet18", "optimizer.name=sgd")
EVERYTHING = (
    "train.ema_decay=0.9",
    "train.grad_clip=1.0",
    "train.accumulate=2",
    "train.channels_last=true",
    "train.epochs=2",
)
LOSSES = [term.model_fields["name"].default for term in get_args(get_args(LossTerm)[0])]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.usefixtures("no_figures")
def test_a_run_ends(tmp_path: Path, small: Callable[..., Recipe], precision: str) -> None:
    """A run with an average, clipping, accumulation and workers ends in each precision."""
    recipe = small(*EVERYTHING, f"train.precision={precision}", "train.workers=2")
    run = finetune(recipe, out=tmp_path / "run", device="cuda")
    assert [row["step"] for row in run.metrics] == [2, 4]
    assert run.record is not None
    assert run.record.device_name == "NVIDIA Null H200"


@pytest.mark.parametrize("changes", [(), (*EVERYTHING, "train.precision=fp16")], ids=["plain", "everything"])
@pytest.mark.usefixtures("no_figures")
def test_a_run_replays_its_step(
    tmp_path: Path, small: Callable[..., Recipe], null_gpu: Any, changes: tuple[str, ...]
) -> None:
    """With ``train.cuda_graph`` the steps after the first three are launches of one graph, recorded by the rules."""
    recipe = small("train.cuda_graph=true", 'data.counts={"train":24,"val":4}', *changes, "train.epochs=1")
    spent = null_gpu.spent(lambda: finetune(recipe, out=tmp_path / "run", device="cuda:1"))
    assert spent.capture_violations == 0
    steps = 24 // (recipe.train.batch_size * recipe.train.accumulate)
    assert spent.graph_launches == steps - 3


def test_a_run_on_the_second_device_draws_its_figures(tmp_path: Path, small: Callable[..., Recipe]) -> None:
    """Everything after the last step works on a device that is not the first."""
    run = finetune(small(), out=tmp_path / "run", device="cuda:1")
    assert (run.folder / "report.html").is_file()
    assert run.record is not None
    assert run.record.device == "cuda:1"


@pytest.mark.usefixtures("no_figures", "fresh_memory")
def test_a_run_moves_between_devices(tmp_path: Path, small: Callable[..., Recipe]) -> None:
    """A run begins on the CPU, goes on on CUDA and ends on the CPU."""
    for epochs, device in enumerate(("cpu", "cuda", "cpu"), start=1):
        run = finetune(small(f"train.epochs={epochs}"), out=tmp_path / "run", device=device, resume=epochs > 1)
    assert [row["epoch"] for row in run.metrics] == [1, 2, 3]


@pytest.mark.usefixtures("no_figures", "fresh_memory")
@pytest.mark.parametrize(("before", "after"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda:1")])
def test_a_resumed_optimizer_is_as_fused_as_a_new_one(
    tmp_path: Path,
    small: Callable[..., Recipe],
    training: Callable[[Recipe, str], Any],
    null_gpu: Any,
    before: str,
    after: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The device decides on the optimizer's kernels, not the checkpoint: a step makes as many launches."""
    finetune(small(), out=tmp_path / "run", device=before)
    restored: list[Parts] = []
    restore = Saving.restore

    def keep(saving: Saving, saved: dict[str, Any]) -> None:
        restore(saving, saved)
        restored.append(saving.parts)

    monkeypatch.setattr(Saving, "restore", keep)
    finetune(small("train.epochs=2"), out=tmp_path / "run", device=after, resume=True)
    resumed, new = restored[0].optimizer, training(small(), after).parts.optimizer
    assert [group["fused"] for group in resumed.param_groups] == [group["fused"] for group in new.param_groups]
    launches = [null_gpu.spent(optimizer.step).launches for optimizer in (resumed, new)]
    assert launches[0] == launches[1]


STEPS = {
    "fp32": (),
    "bf16": ("train.precision=bf16",),
    "fp16": ("train.precision=fp16",),
    "everything": (*EVERYTHING, "train.precision=fp16"),
    "sgd": ('optimizer={"name":"sgd"}',),
    "deterministic": ("train.deterministic=true",),
}


@pytest.mark.parametrize("changes", STEPS.values(), ids=STEPS)
def test_a_step_does_not_wait(
    small: Callable[..., Recipe],
    training: Callable[[Recipe, str], Any],
    null_gpu: Any,
    changes: tuple[str, ...],
) -> None:
    """A step synchronises nothing, copies nothing to the host and nothing from pageable memory."""
    trained = training(small(*changes), "cuda:1")
    spent = null_gpu.spent(trained.train)
    assert spent.waits == {}
    assert spent.launches > 0


@pytest.mark.parametrize("changes", [(), (*EVERYTHING, "train.precision=fp16")], ids=["plain", "everything"])
def test_a_replayed_step_does_not_wait(
    small: Callable[..., Recipe], training: Callable[[Recipe, str], Any], null_gpu: Any, changes: tuple[str, ...]
) -> None:
    """Batches are copied to where the graph reads them, and nothing waits for that or for the graph."""
    trained = training(small("train.cuda_graph=true", *changes), "cuda:1")
    with torch.cuda.device("cuda:1"):  # as the training loop does
        trained.step = GraphStep(trained.step)
        for _ in range(WARM_UP + 1):
            trained.train()
        spent = null_gpu.spent(trained.train)
    assert spent.waits == {}
    assert spent.graph_launches == 1
    assert spent.copies_to_device >= 2 * trained.parts.recipe.train.accumulate


def test_every_term_is_a_loss() -> None:
    """The names below are those of the recipe's schema."""
    assert "cross_entropy" in LOSSES
    assert len(LOSSES) == len(set(LOSSES)) > 5


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_does_not_wait(
    small: Callable[..., Recipe], training: Callable[[Recipe, str], Any], null_gpu: Any, name: str
) -> None:
    """The sums of each loss and the gradient of its value wait for nothing."""
    loss = training(small(f'loss=[{{"name":"{name}"}}]'), "cuda").parts.loss
    logits = torch.zeros(2, 5, 32, 32, device="cuda", requires_grad=True)
    target = torch.zeros(2, 32, 32, dtype=torch.int64, device="cuda")

    def backward() -> None:
        loss.value(loss.sums(logits, target)).backward()

    backward()
    spent = null_gpu.spent(backward)
    assert spent.waits == {}
    assert spent.launches > 0


@pytest.mark.parametrize("weights", ["median_frequency", "enet", "[1,2,1,1,1]"])
def test_class_weights_do_not_wait(
    small: Callable[..., Recipe], training: Callable[[Recipe, str], Any], null_gpu: Any, weights: str
) -> None:
    """Class weights are on the device before the first step."""
    value = weights if weights.startswith("[") else f'"{weights}"'
    trained = training(small(f'loss=[{{"name":"cross_entropy","class_weights":{value}}}]'), "cuda")
    assert null_gpu.spent(trained.train).waits == {}


TRANSFERS = {
    "unfreeze_encoder_at": ("transfer.strategy=finetune", "transfer.unfreeze_encoder_at=2"),
    "frozen_encoder": ("transfer.strategy=frozen_encoder",),
    "feature_hook": ("transfer.strategy=feature_hook",),
    "feature_identity": ("transfer.strategy=feature_identity",),
    "cache in memory": ("transfer.strategy=feature_hook", "transfer.cache=memory", "augment=[]"),
    "cache on disk": ("transfer.strategy=feature_hook", "transfer.cache=disk", "transfer.views=2"),
}


@pytest.mark.parametrize("changes", TRANSFERS.values(), ids=TRANSFERS)
@pytest.mark.usefixtures("no_figures")
def test_transfer_strategies_train(tmp_path: Path, small: Callable[..., Recipe], changes: tuple[str, ...]) -> None:
    """Each strategy trains on CUDA for two epochs."""
    run = finetune(small(*UNET, *changes, "train.epochs=2"), out=tmp_path / "run", device="cuda")
    assert [row["epoch"] for row in run.metrics] == [1, 2]


SUPPLIES = {
    "read here": (),
    "read by workers": ("train.workers=2",),
    "kept in memory": (*UNET, *TRANSFERS["cache in memory"]),
    "kept on disk": (*UNET, *TRANSFERS["cache on disk"]),
}


@pytest.mark.parametrize("changes", SUPPLIES.values(), ids=SUPPLIES)
def test_batches_come_from_page_locked_memory(
    tmp_path: Path,
    small: Callable[..., Recipe],
    training: Callable[[Recipe, str], Any],
    null_gpu: Any,
    changes: tuple[str, ...],
) -> None:
    """The steps on a run's batches wait for nothing, wherever the batches come from; only the end of a loader may."""
    trained = training(small(*changes), "cuda")
    supply = Supply(trained.parts, ALONE)
    supply.keep_features(tmp_path, lambda: False)
    batches = iter(supply.training(0))
    trained.step([next(batches)])

    def train() -> None:
        for _ in range(trained.parts.data.plan.steps_per_epoch - 1):
            trained.step([next(batches)])

    spent = null_gpu.spent(train)
    assert spent.waits == {}
    assert spent.copies_to_device > 0


VALIDATIONS = {
    "whole": ((), "eval.batch_size=12", "eval.batch_size=2"),
    "workers": (("train.workers=2", "train.precision=bf16"), "eval.batch_size=12", "eval.batch_size=2"),
    "windows": (("eval.window=[48,48]",), 'data.counts={"train":4,"val":22}', 'data.counts={"train":4,"val":26}'),
}


@pytest.mark.parametrize(("changes", "few", "many"), VALIDATIONS.values(), ids=VALIDATIONS)
def test_validation_does_not_wait_for_a_batch(
    small: Callable[..., Recipe],
    training: Callable[[Recipe, str], Any],
    null_gpu: Any,
    changes: tuple[str, ...],
    few: str,
    many: str,
) -> None:
    """More batches cost more launches and no more waiting: only the end of a validation waits."""
    counts = []
    for size in (few, many):
        parts = training(small('data.counts={"train":4,"val":24}', *changes, size), "cuda").parts

        def validate(parts: Parts = parts) -> None:
            score_split(
                parts.scorer,
                Supply(parts, ALONE).evaluation(),
                num_classes=len(parts.data.source.classes),
                ignore_index=parts.data.source.ignore_index,
                loss=parts.loss,
                device=parts.device,
                keep=PREVIEWS,
            )

        validate()
        counts.append(null_gpu.spent(validate))
    assert counts[1].launches > counts[0].launches
    assert counts[1].waits == counts[0].waits


@pytest.mark.parametrize("changes", [changes for changes, _, _ in VALIDATIONS.values()], ids=VALIDATIONS)
def test_validation_waits_after_its_last_batch_only(
    small: Callable[..., Recipe], training: Callable[[Recipe, str], Any], null_gpu: Any, changes: tuple[str, ...]
) -> None:
    """Scores and previews stay on the device until all batches are scored, also what has the same size in any split."""
    parts = training(small(*changes, "eval.batch_size=2"), "cuda").parts
    waits: list[dict[str, int]] = []

    def watched(batches: Iterable[Any]) -> Iterator[Any]:
        waits.clear()
        for batch in batches:
            waits.append(null_gpu.counts().waits)
            yield batch
            waits.append(null_gpu.counts().waits)

    for _ in range(2):  # the first one prepares what later ones reuse
        score_split(
            parts.scorer,
            watched(Supply(parts, ALONE).evaluation()),
            num_classes=len(parts.data.source.classes),
            ignore_index=parts.data.source.ignore_index,
            loss=parts.loss,
            device=parts.device,
            keep=PREVIEWS,
        )
    assert len(waits) >= 2 * 2
    assert waits == [waits[0]] * len(waits)


def test_out_of_memory_names_a_smaller_batch(tmp_path: Path, small: Callable[..., Recipe], null_gpu: Any) -> None:
    """A run that does not fit ends with a batch size to try."""
    torch.cuda.empty_cache()
    null_gpu.limit_memory(null_gpu.memory_used(0) + (48 << 20))
    recipe = small("train.batch_size=8", "data.image_size=[512,512]")
    with pytest.raises(TrainingError, match=r"out of memory .*train\.batch_size=4") as raised:
        finetune(recipe, out=tmp_path / "run", device="cuda")
    assert raised.value.exit_code == 1
