"""Which parts stay as they are in which epoch, and the audit that proves it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from segzoo.errors import TrainingError
from segzoo.recipe.consistency import FEATURE_STRATEGIES
from segzoo.recipe.schema import TransferSection
from segzoo.transfer import Cut, freeze, unfreeze

NAMED = 5
"""How many changed tensors a message lists."""


def frozen_parts(transfer: TransferSection, epoch: int, cut: Cut | None = None) -> tuple[str, ...]:
    """Return the parts of the model that an epoch, from 1, leaves as they are."""
    if cut is not None:
        return cut.frozen
    if transfer.strategy in ("frozen_encoder", *FEATURE_STRATEGIES):
        return ("encoder",)
    if transfer.unfreeze_encoder_at is not None and epoch < transfer.unfreeze_encoder_at:
        return ("encoder",)
    return ()


class FreezingSummary(NamedTuple):
    """What an audit went over.

    Args:
        parts: The parts of the model that were frozen.
        parameters: How many tensors of theirs are parameters.
        buffers: How many are buffers.
        epochs: After how many epochs they were audited.
    """

    parts: tuple[str, ...]
    parameters: int
    buffers: int
    epochs: int


class Freezer:
    """Freezes and thaws parts of a model as the epochs go by, and keeps the checksums of what is frozen.

    Args:
        model: The model.
        transfer: The recipe's section.
        cut: Where the model is cut in two, for strategies that train a head on features.
    """

    def __init__(self, model: nn.Module, transfer: TransferSection, cut: Cut | None = None) -> None:
        self._model = model
        self._transfer = transfer
        self._cut = cut
        self._frozen: tuple[str, ...] = ()
        self.digests: dict[str, str] = {}
        """SHA-256 of every frozen parameter and buffer by name, taken before the first step."""

    @property
    def frozen(self) -> tuple[str, ...]:
        """The parts that are frozen now."""
        return self._frozen

    def begin_epoch(self, epoch: int) -> bool:
        """Freeze and thaw what the epoch, from 1, asks for, and return whether anything changed."""
        wanted = frozen_parts(self._transfer, epoch, self._cut)
        if wanted == self._frozen:
            return False
        if self._frozen:
            unfreeze(self._model, *self._frozen)
        if wanted:
            freeze(self._model, *wanted)
        self._frozen = wanted
        if wanted and not self.digests:
            self.digests = dict(self._hash())
        return True

    def audit(self) -> None:
        """Compare every frozen tensor with its checksum.

        Raises:
            TrainingError: If one is not to the bit what it was before the first step; it is named.
        """
        if not self._frozen:
            return
        changed = [name for name, digest in self._hash() if self.digests.get(name) != digest]
        if changed:
            more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            raise TrainingError(
                f"the frozen {' and '.join(self._frozen)} changed: {', '.join(changed[:NAMED])}{more}. "
                "The last good checkpoint is kept"
            )

    def summary(self, epochs: int) -> FreezingSummary | None:
        """Return what was audited in the first ``epochs`` epochs, or None where nothing was frozen."""
        each = (frozen_parts(self._transfer, epoch, self._cut) for epoch in range(1, epochs + 1))
        audited = [parts for parts in each if parts]
        if not audited:
            return None
        parts = tuple(dict.fromkeys(part for names in audited for part in names))
        modules = [self._model.get_submodule(part) for part in parts]
        return FreezingSummary(
            parts,
            parameters=sum(1 for module in modules for _ in module.named_parameters()),
            buffers=sum(1 for module in modules for _ in module.named_buffers()),
            epochs=len(audited),
        )

    def _hash(self) -> Iterator[tuple[str, str]]:
        for name, tensor in self._tensors():
            content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
            yield name, hashlib.sha256(content).hexdigest()

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for part in self._frozen:
            module = self._model.get_submodule(part)
            yield from module.named_parameters(prefix=part)
            yield from module.named_buffers(prefix=part)
