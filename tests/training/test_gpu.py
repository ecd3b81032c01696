"""Training on a CUDA device."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from segzoo.data.loading.loaders import Batch
from segzoo.recipe import load_recipe
from segzoo.runtime.distributed import ALONE, World, join_group
from segzoo.runtime.launch import Launch
from segzoo.training.building import build_parts, synchronise
from segzoo.training.finetune import Run, finetune
from segzoo.training.parts import Parts
from segzoo.training.steps.step import TrainStep

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

SMALL = ('data.counts={"train":32,"val":8}', "train.batch_size=8", "train.epochs=2")


@pytest.mark.parametrize("changes", [(), ("train.precision=bf16", "train.channels_last=true", "train.workers=2")])
@pytest.mark.parametrize("model", ["fast_scnn", "segnet", "unet_resnet18_se"])
def test_trains_and_resumes(tmp_path: Path, model: str, changes: tuple[str, ...]) -> None:
    """Each model trains in both precisions, and a longer run goes on from the checkpoint."""
    settings = (*SMALL, f"model.name={model}", *changes)
    run = finetune(load_recipe("quickstart", settings), out=tmp_path / "run", device="cuda")
    longer = load_recipe("quickstart", (*settings, "train.epochs=3"))
    run = finetune(longer, out=tmp_path / "run", device="cuda", resume=True)
    assert [row["epoch"] for row in run.metrics] == [1, 2, 3]
    assert all(math.isfinite(row["train_loss"]) for row in run.metrics)
    assert run.record is not None
    assert run.record.device_name == torch.cuda.get_device_name(0)


def test_a_run_with_a_graph_resumes_without_one(tmp_path: Path) -> None:
    """The encoder is thawed behind the first epoch, which records again, and the checkpoint goes on without a graph."""
    settings = (*SMALL, "transfer.strategy=finetune", "transfer.unfreeze_encoder_at=2", "train.workers=2")
    run = finetune(load_recipe("quickstart", (*settings, "train.cuda_graph=true")), out=tmp_path / "run", device="cuda")
    longer = load_recipe("quickstart", (*settings, "train.epochs=3"))
    run = finetune(longer, out=tmp_path / "run", device="cuda", resume=True)
    assert [row["epoch"] for row in run.metrics] == [1, 2, 3]
    assert all(math.isfinite(row["train_loss"]) for row in run.metrics)


def test_the_loss_falls(tmp_path: Path) -> None:
    """Eight epochs on a GPU learn as they do on a CPU."""
    run = finetune(load_recipe("quickstart"), out=tmp_path / "run", device="cuda")
    assert run.metrics[-1]["mean_iou"] > 0.8


def test_a_group_of_one_steps_as_a_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through nccl, a replica and synchronised batch norms, a step has the loss and the weights of a plain one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(probe.getsockname()[1]))
    for name, value in {"MASTER_ADDR": "127.0.0.1", "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    device = torch.device("cuda", 0)
    recipe = load_recipe("quickstart", (*SMALL, "model.params.dropout=0.0", "optimizer.name=sgd"))
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        torch.randint(256, (8, 3, 96, 96), generator=generator, dtype=torch.uint8),
        torch.randint(5, (8, 96, 96), generator=generator, dtype=torch.uint8),
        tuple(map(str, range(8))),
    )
    plain, _ = build_parts(recipe, device)
    losses = [step_of(plain, ALONE)([batch])]
    with join_group(Launch(), device) as world:
        parts, _ = build_parts(recipe, device)
        model = synchronise(parts.model)
        assert any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
        assert model is parts.model
        losses.append(step_of(parts, world)([batch]))
        world.share(model.buffers())
        assert world.agree(None) is None
        assert world.collect(7) == [7]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-3)
    for left, right in zip(plain.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


def step_of(parts: Parts, world: World) -> TrainStep:
    """Return the step of a run."""
    return TrainStep(
        predictor=parts.predictor,
        loss=parts.loss,
        optimizer=parts.optimizer,
        scaler=parts.scaler,
        average=None,
        grad_clip=None,
        device=parts.device,
        world=world,
    )


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two CUDA devices")
def test_two_gpus_train_as_one(tmp_path: Path) -> None:
    """With synchronised batch norms and no dropout the first losses are those of one GPU, and the run can go on."""
    sets = (*SMALL, "train.sync_batchnorm=true", "model.params.dropout=0.0", "train.max_steps=4")
    words = [word for change in sets for word in ("--set", change)]
    for count in (1, 2):
        launch = ["torch.distributed.run", "--nproc-per-node", str(count), "-m"] if count > 1 else []
        command = [
            sys.executable,
            "-m",
            *launch,
            "segzoo",
            "finetune",
            "quickstart",
            "--out",
            str(tmp_path / f"{count}"),
        ]
        subprocess.run([*command, "--device", "cuda", *words], check=True, timeout=300)
    one, two = (Run(tmp_path / f"{count}").metrics[0] for count in (1, 2))
    assert one["train_loss"] == pytest.approx(two["train_loss"], rel=1e-2)
