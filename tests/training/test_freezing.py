"""What a recipe freezes stays as it is to the bit, and a change is told by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segzoo.errors import TrainingError
from segzoo.recipe.schema import TransferSection
from segzoo.training.freezing import Freezer, frozen_parts
from segzoo.transfer import CutBeforeHead

FINETUNE = TransferSection(unfreeze_encoder_at=3)
FROZEN = TransferSection(strategy="frozen_encoder")


class Small(nn.Module):
    """An encoder with statistics and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        logits: torch.Tensor = self.head(self.encoder(image))
        return logits


@pytest.mark.parametrize(("transfer", "epochs"), [(FINETUNE, 2), (FROZEN, 5)])
def test_summary_counts_tensors_and_epochs(transfer: TransferSection, epochs: int) -> None:
    """After five epochs it tells the parts, their tensors of both kinds, and the epochs that left them as they were."""
    assert Freezer(Small(), transfer).summary(5) == (("encoder",), 4, 3, epochs)


def test_summary_has_all_that_a_cut_freezes() -> None:
    """Where a head is trained on features, every part that gives them was audited, and is told."""
    model = Small()
    model.decoder = nn.Conv2d(4, 4, 1)
    transfer = TransferSection(strategy="feature_identity")
    assert Freezer(model, transfer, CutBeforeHead(model)).summary(1) == (("encoder", "decoder"), 6, 3, 1)


@pytest.mark.parametrize(("transfer", "epochs"), [(TransferSection(), 5), (FROZEN, 0)])
def test_nothing_frozen_has_no_summary(transfer: TransferSection, epochs: int) -> None:
    """Neither a run that trains everything nor one without an epoch was audited."""
    assert Freezer(Small(), transfer).summary(epochs) is None


@pytest.mark.parametrize(
    ("transfer", "frozen"),
    [
        (TransferSection(), [False, False, False, False]),
        (TransferSection(strategy="scratch"), [False, False, False, False]),
        (FINETUNE, [True, True, False, False]),
        (FROZEN, [True, True, True, True]),
    ],
)
def test_epochs_decide(transfer: TransferSection, frozen: list[bool]) -> None:
    """``unfreeze_encoder_at`` is the first epoch, from 1, that trains the encoder."""
    assert [bool(frozen_parts(transfer, epoch)) for epoch in range(1, 5)] == frozen


def test_freezes_and_thaws_once() -> None:
    """Within a phase nothing is touched; at its end the encoder trains again, dropout and statistics included."""
    model = Small()
    freezer = Freezer(model, FINETUNE)

    assert [freezer.begin_epoch(epoch) for epoch in (1, 2)] == [True, False]
    model.train()
    assert not model.encoder[1].training
    assert not model.encoder[0].weight.requires_grad
    assert [freezer.begin_epoch(epoch) for epoch in (3, 4)] == [True, False]
    assert model.encoder[1].training
    assert model.encoder[0].weight.requires_grad


@pytest.mark.parametrize("name", ["encoder.0.weight", "encoder.1.running_mean", "encoder.1.num_batches_tracked"])
def test_a_change_is_told_by_name(name: str) -> None:
    """Parameters, statistics and counters are all looked at, to the last bit."""
    model = Small()
    freezer = Freezer(model, FROZEN)
    freezer.begin_epoch(1)
    freezer.audit()

    tensor = model.state_dict()[name]
    tensor.copy_(tensor + 1 if tensor.dtype == torch.int64 else torch.nextafter(tensor, tensor + 1))

    with pytest.raises(TrainingError, match=f"the frozen encoder changed: {name}. The last good checkpoint is kept"):
        freezer.audit()


def test_what_is_not_frozen_may_change() -> None:
    """The head trains, and after thawing so does the encoder."""
    model = Small()
    freezer = Freezer(model, FINETUNE)
    freezer.begin_epoch(1)
    model.head.weight.data.add_(1)
    freezer.audit()

    freezer.begin_epoch(3)
    model.encoder[0].weight.data.add_(1)
    freezer.audit()


def test_a_resumed_run_is_compared_with_the_first_step() -> None:
    """Checksums of a checkpoint are not taken anew, so that a change while the run was away shows."""
    model = Small()
    before = Freezer(model, FROZEN)
    before.begin_epoch(1)
    model.encoder[0].weight.data.add_(1)

    after = Freezer(model, FROZEN)
    after.digests = before.digests
    after.begin_epoch(2)

    with pytest.raises(TrainingError, match=r"encoder\.0\.weight"):
        after.audit()
