"""Training on a CUDA device."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from segzoo.recipe import load_recipe
from segzoo.training.finetune import finetune

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


def test_the_loss_falls(tmp_path: Path) -> None:
    """Eight epochs on a GPU learn as they do on a CPU."""
    run = finetune(load_recipe("quickstart"), out=tmp_path / "run", device="cuda")
    assert run.metrics[-1]["mean_iou"] > 0.8
