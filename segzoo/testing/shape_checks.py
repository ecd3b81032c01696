"""Checks on the meta device: shapes and parts, without computing anything."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segzoo.testing.subject import CLASSES, SIDE, ContractError, Subject
from segzoo.transfer import PARTS


def parts(subject: Subject) -> None:
    """Every tensor belongs to the submodule ``encoder``, ``decoder`` or ``head``, and the first and last are there."""
    model = subject.on_meta()  # building refuses a model without encoder or head
    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    stray = [name for name in names if name.partition(".")[0] not in PARTS]
    if stray:
        raise ContractError(f"the tensor {stray[0]} is in none of {', '.join(PARTS)}{_more(stray)}")


def logits_shape(subject: Subject) -> None:
    """An odd image that is not square, and the smallest square one, give logits of their own size."""
    smallest = subject.refined.input.min_size
    for size in (subject.sized(97, 131), (smallest, smallest)):
        must_be_logits(_on_meta(subject.on_meta(), 1, 3, size), (1, CLASSES, *size))


def channels(subject: Subject) -> None:
    """Images of 1 and of 4 channels, and 1 class and 21, work as 3 channels and 2 classes do in every other check."""
    size = subject.sized(SIDE, SIDE)
    for in_channels, num_classes in ((1, 1), (4, 21)):
        model = subject.on_meta(in_channels=in_channels, num_classes=num_classes)
        must_be_logits(_on_meta(model, 1, in_channels, size), (1, num_classes, *size))


def auxiliary_outputs(subject: Subject) -> None:
    """In training mode, a model that declares ``aux`` returns a dict of ``logits`` and these names, others logits."""
    size, aux = subject.sized(SIDE, SIDE), subject.spec.aux
    model = subject.on_meta()
    try:
        output = _on_meta(model.train(), 2, 3, size)
    finally:
        model.eval()
    if not aux:
        must_be_logits(output, (2, CLASSES, *size))
        return
    if not isinstance(output, dict) or set(output) != {"logits", *aux}:
        got = f"the keys {sorted(output)}" if isinstance(output, dict) else f"a {type(output).__name__}"
        raise ContractError(f"in training mode, expected a dict with the keys {sorted({'logits', *aux})}, got {got}")
    for value in output.values():
        must_be_logits(value, (2, CLASSES, *size))


def must_be_logits(output: object, shape: tuple[int, ...]) -> None:
    """Refuse what is no floating point tensor of this shape.

    Raises:
        ContractError: If ``output`` is something else.
    """
    if not isinstance(output, Tensor):
        raise ContractError(f"expected logits {shape}, got a {type(output).__name__}")
    if tuple(output.shape) != shape:
        raise ContractError(f"expected logits {shape}, got {tuple(output.shape)}")
    if not output.is_floating_point():
        raise ContractError(f"expected floating point logits, got {output.dtype}")


def _on_meta(model: nn.Module, batch: int, channels: int, size: tuple[int, int]) -> object:
    with torch.no_grad():
        return model(torch.empty(batch, channels, *size, device="meta"))


def _more(names: list[str]) -> str:
    return f", nor are {len(names) - 1} others" if len(names) > 1 else ""
