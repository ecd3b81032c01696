"""Checks that compute: evaluation, building, saving."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from segzoo.testing.shape_checks import must_be_logits
from segzoo.testing.subject import CLASSES, SIDE, ContractError, Subject, random_image, seeded


def evaluates(subject: Subject) -> None:
    """Real images, among them a single odd one and the smallest, give finite logits of their own size."""
    smallest = subject.refined.input.min_size
    for batch, size in [(1, subject.sized(97, 131)), (2, subject.sized(SIDE, SIDE)), (1, (smallest, smallest + 1))]:
        with torch.no_grad():
            logits = subject.model(random_image(batch, *size))
        must_be_logits(logits, (batch, CLASSES, *size))
        if not logits.isfinite().all():
            raise ContractError(f"logits for {batch} images of {size[0]}x{size[1]} pixels are not finite")


def two_eval_passes(subject: Subject) -> None:
    """Evaluation is a function: the same image gives the same bits twice, whatever the random numbers."""
    first, second = (_logits(subject, subject.model, seed) for seed in (0, 1))
    if not torch.equal(first, second):
        raise ContractError(f"two passes over one image differ by up to {(first - second).abs().max():.3g}")


def deterministic_build(subject: Subject) -> None:
    """Two builds under one seed of torch have the same weights."""
    first, second = subject.model.state_dict(), subject.build().state_dict()
    if first.keys() != second.keys():
        raise ContractError(f"two builds differ in the tensor {sorted(first.keys() ^ second.keys())[0]}")
    for name, tensor in first.items():
        if not torch.equal(tensor, second[name]):
            raise ContractError(f"two builds under one seed differ in {name}; draw random numbers from torch alone")


def state_dict(subject: Subject) -> None:
    """The state dict of a used network, loaded into a new one, gives the same logits."""
    used = subject.copy()
    with torch.no_grad(), seeded(0):
        used(random_image(2, *subject.sized(SIDE, SIDE)))  # moves the statistics of batch norms
    fresh = subject.build(seed=1)
    fresh.load_state_dict(used.state_dict())
    if not torch.equal(_logits(subject, used.eval()), _logits(subject, fresh.eval())):
        raise ContractError("a new network with the same state dict gives other logits: some state is not in it")


def moves_to_meta(subject: Subject) -> None:
    """A network that was built on the CPU can be moved as a whole, here to the meta device."""
    size = subject.sized(SIDE, SIDE)
    moved = copy.deepcopy(subject.model).to("meta")
    for name, module in moved.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, Tensor) and not value.is_meta:
                path = f"{name}.{attribute}".lstrip(".")
                raise ContractError(f"the tensor {path} is left behind when the network moves; register it as a buffer")
    with torch.no_grad():
        logits = moved(torch.empty(1, 3, *size, device="meta"))
    must_be_logits(logits, (1, CLASSES, *size))
    if not logits.is_meta:
        raise ContractError(f"a network on the meta device gives logits on the device {logits.device}")


def _logits(subject: Subject, model: torch.nn.Module, seed: int = 0) -> Tensor:
    with torch.no_grad(), seeded(seed):
        logits: Tensor = model(random_image(1, *subject.sized(SIDE, SIDE)))
    return logits
