"""Frozen is frozen, in runs as users start them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import segzoo
from segzoo.errors import TrainingError
from segzoo.plugins import default_registry
from segzoo.recipe import load_recipe, resolve_recipe
from segzoo.runs.checkpoint import read_checkpoint
from segzoo.training.building import build_parts
from segzoo.training.finetune import Run, finetune
from segzoo.training.freezing import Freezer
from segzoo.training.loop import Trainer
from segzoo.training.parts import Parts

pytestmark = pytest.mark.usefixtures("no_figures")

SMALL = (
    "data.size=[64,64]",
    "data.image_size=[64,64]",
    'data.counts={"train":8,"val":2}',
    "train.batch_size=4",
    "train.threads=1",
    "model.weights=null",
    "optimizer.weight_decay=0.1",
)


def train(folder: Path, *changes: str) -> Run:
    """Train a small recipe."""
    return finetune(load_recipe("quickstart", (*SMALL, *changes)), out=folder, device="cpu")


def build(*changes: str) -> Parts:
    """Build what a small recipe trains, as it is before the first step."""
    recipe = resolve_recipe(load_recipe("quickstart", (*SMALL, *changes)), default_registry())
    return build_parts(recipe, torch.device("cpu"))[0]


def encoder_of(checkpoint: Path) -> dict[str, Tensor]:
    """Return the encoder's tensors in a checkpoint."""
    return {
        name: tensor for name, tensor in read_checkpoint(checkpoint)["model"].items() if name.startswith("encoder.")
    }


SGD = 'optimizer={"name":"sgd","lr":0.1,"momentum":0.9,"weight_decay":0.1}'
BATCH_NORM = ("model.name=unet_resnet18", SGD)
DROPOUT = ("model.name=smp_unet", 'model.params={"encoder":"mit_b0"}')


@pytest.mark.parametrize(
    "model",
    [BATCH_NORM, pytest.param((*DROPOUT, SGD), marks=pytest.mark.slow), DROPOUT],
    ids=["batch norm, momentum", "dropout, momentum", "dropout, adamw"],
)
def test_frozen_encoder_keeps_every_bit(tmp_path: Path, model: tuple[str, ...]) -> None:
    """Neither weight decay nor momentum, batch statistics nor counters move the encoder; everything else trains."""
    changes = (*model, "train.epochs=2")
    frozen = train(tmp_path / "frozen", *changes, "transfer.strategy=frozen_encoder")
    free = train(tmp_path / "free", *changes)

    before = build(*changes).model.state_dict()
    after, moved = (read_checkpoint(run.folder / "checkpoints/last.pt")["model"] for run in (frozen, free))
    names = [name for name in before if name.startswith("encoder.")]
    assert len(names) > 50
    assert before.keys() == after.keys()
    assert [name for name in names if not torch.equal(before[name], after[name])] == []
    assert not all(torch.equal(before[name], moved[name]) for name in names)
    for part in ("decoder.", "head."):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part))


@pytest.mark.parametrize("model", [BATCH_NORM, (*DROPOUT, SGD)], ids=["batch norm", "dropout"])
def test_passes_of_a_frozen_run_are_equal(tmp_path: Path, model: tuple[str, ...]) -> None:
    """Two evaluation passes give the same bits, and so does the encoder between two steps, in training mode."""
    changes = (*model, "train.epochs=1", "transfer.strategy=frozen_encoder")
    run = train(tmp_path / "run", *changes)
    parts = build(*changes)
    parts.model.load_state_dict(read_checkpoint(run.folder / "checkpoints/last.pt")["model"])
    Freezer(parts.model, parts.recipe.transfer).begin_epoch(1)
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        first, second = (parts.predictor(images) for _ in range(2))
        parts.model.train()
        features = [parts.model.get_submodule("encoder")(parts.predictor.normalise(images)) for _ in range(2)]

    assert torch.equal(first, second)
    assert len(features[0]) > 1
    assert all(torch.equal(left, right) for left, right in zip(*features, strict=True))


def test_encoder_trains_from_its_epoch_on(tmp_path: Path) -> None:
    """Up to the epoch before it is as it was, and then it moves."""
    changes = ("model.name=unet_resnet18", "transfer.strategy=finetune", "transfer.unfreeze_encoder_at=3")
    runs = [train(tmp_path / str(epochs), *changes, f"train.epochs={epochs}", 'scheduler={"name":"constant"}')
            for epochs in (1, 2, 3)]  # fmt: skip

    first, second, third = (encoder_of(run.folder / "checkpoints/last.pt") for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(second[name], third[name]) for name in first)


def test_a_change_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should anything move a frozen tensor, the run ends by name before it is kept."""
    finish = Trainer._finish_epoch

    def meddle(self: Trainer, *arguments: object) -> None:
        self.parts.model.get_buffer("encoder.bn1.running_mean").add_(1)
        finish(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_finish_epoch", meddle)
    with pytest.raises(TrainingError, match=r"the frozen encoder changed: encoder\.bn1\.running_mean\."):
        train(tmp_path / "run", "model.name=unet_resnet18", "transfer.strategy=frozen_encoder", "train.epochs=1")


def test_model_of_a_frozen_run_can_be_loaded(tmp_path: Path) -> None:
    """Freezing leaves no trace in the model that is saved."""
    changes = ("model.name=unet_resnet18", "transfer.strategy=frozen_encoder", "train.epochs=1", "train.ema_decay=0.5")
    run = train(tmp_path / "run", *changes)

    model = segzoo.create_model("unet_resnet18", num_classes=5, weights=run.folder)

    saved = read_checkpoint(run.folder / "checkpoints/best.pt")["average"]
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_freezer_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run compares with the checksums of the first step, not with what it finds."""
    changes = ("model.name=unet_resnet18", "transfer.strategy=frozen_encoder")
    train(tmp_path / "run", *changes, "train.epochs=1")
    audited: list[dict[str, str]] = []
    audit = Freezer.audit
    monkeypatch.setattr(Freezer, "audit", lambda self: (audited.append(self.digests), audit(self)))

    recipe = load_recipe("quickstart", (*SMALL, *changes, "train.epochs=2"))
    finetune(recipe, out=tmp_path / "run", device="cpu", resume=True)

    saved = read_checkpoint(tmp_path / "run/checkpoints/last.pt")["frozen"]
    assert audited == [saved]
    assert len(saved) > 50
