"""Checks that train a step or three."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.testing.subject import CLASSES, SIDE, ContractError, Subject, random_image, seeded
from segzoo.training.preflight import find_refusal
from segzoo.transfer import freeze, unfreeze

SEEDS = 8
"""Networks in which a kernel must have no gradient before it counts as dead."""


@dataclass(frozen=True)
class _FirstStep:
    """What a step on two images did to a new network.

    Args:
        loss: The loss before the step.
        changed: Whether any parameter is another.
        wild: The parameters that are not finite any more.
        fault: What is wrong with a gradient, or nothing.
        zero: The kernels whose gradients are zero throughout.
    """

    loss: float
    changed: bool
    wild: list[str]
    fault: str
    zero: list[str]


def batch_two_trains(subject: Subject) -> None:
    """A step on two images has a finite loss, and changes parameters to finite values."""
    first = subject.once(_first_step)
    if not math.isfinite(first.loss):
        raise ContractError(f"the loss of two images is {first.loss}")
    if not first.changed:
        raise ContractError("a step with SGD changes no parameter")
    if first.wild:
        raise ContractError(f"after one step, {first.wild[0]} is not finite")


def batch_one_trains(subject: Subject) -> None:
    """A step on one image works, or a layer refuses it before the step, so that its name can be told."""
    size = subject.sized(SIDE, SIDE)
    refusal = find_refusal(subject.on_meta(), in_channels=3, size=size)
    if refusal is not None:
        if not refusal.layer:
            raise ContractError(f"one image is refused, but by no layer that could be named: {refusal.reason}")
        return
    model = subject.copy()
    loss = _step(model, _optimizer(model), random_image(1, *size))
    if not math.isfinite(loss):
        raise ContractError(f"the loss of one image is {loss}")


def gradients(subject: Subject) -> None:
    """A finite gradient reaches every parameter, and is not zero throughout in any kernel."""
    first = subject.once(_first_step)
    if first.fault:
        raise ContractError(first.fault)
    dead = first.zero
    for seed in range(SEEDS):
        if not dead:
            return
        # A lone unit may be off in one network by chance; in no other is it the same.
        also_dead = _without_gradient(subject, subject.build(seed=seed).train())
        dead = [name for name in dead if name in also_dead]
    if dead:
        raise ContractError(f"the gradient of {dead[0]} is zero" + (f", of {len(dead)} in all" if dead[1:] else ""))


def freeze_encoder(subject: Subject) -> None:
    """A frozen encoder keeps every parameter and buffer to the bit and is deterministic, while the rest trains."""
    model, image = subject.copy(), random_image(2, *subject.sized(SIDE, SIDE))
    optimizer = _optimizer(model)
    _leave_momentum(model, optimizer)
    freeze(model, "encoder")
    encoder: nn.Module = model.get_submodule("encoder")
    before = _clone(_tensors_of(model))
    _step(model.train(), optimizer, image)
    first, second = (_outputs_of(encoder, model, image, seed) for seed in (0, 1))
    changed = _changed(before, _tensors_of(model))
    unfreeze(model, "encoder")  # a frozen network refers to itself, and would stay in memory
    moved = [name for name in changed if name.startswith("encoder.")]
    if moved:
        raise ContractError(f"{moved[0]} changes although the encoder is frozen")
    for part in ("decoder", "head"):
        trained = {name for name, _ in model.named_parameters() if name.startswith(f"{part}.")}
        if trained and not trained & set(changed):
            raise ContractError(f"no parameter of the {part} changes while the encoder is frozen")
    if len(first) != len(second) or not all(map(torch.equal, first, second)):
        raise ContractError("in training mode, a frozen encoder gives other features for the same images")


def _first_step(subject: Subject) -> _FirstStep:
    model = subject.copy()
    loss = _step(model, _optimizer(model), random_image(2, *subject.sized(SIDE, SIDE)))
    before, after = dict(subject.model.named_parameters()), dict(model.named_parameters())
    return _FirstStep(
        loss,
        changed=any(not torch.equal(parameter, after[name]) for name, parameter in before.items()),
        wild=[name for name, parameter in after.items() if not _finite(parameter)],
        fault=_gradient_fault(model),
        zero=_zero_gradients(model),
    )


def _without_gradient(subject: Subject, model: nn.Module) -> list[str]:
    """Train a step or two and return the kernels whose gradients are zero; the model changes."""
    optimizer, image = _optimizer(model), random_image(2, *subject.sized(SIDE, SIDE))
    _step(model, optimizer, image)
    fault = _gradient_fault(model)
    if fault:
        raise ContractError(fault)
    zero = _zero_gradients(model)
    if zero:
        # A factor that starts at zero, as residual branches have, blocks gradients until it has taken a step.
        _step(model, optimizer, image)
    return [name for name in _zero_gradients(model) if name in zero]


def _optimizer(model: nn.Module) -> torch.optim.SGD:
    """Return an optimizer that would move even a parameter whose gradient is zero."""
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=0.1)


def _leave_momentum(model: nn.Module, optimizer: torch.optim.SGD) -> None:
    """Take a step so small that it matters only as momentum, of every parameter, which must not act on once frozen."""
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()


def _step(model: nn.Module, optimizer: torch.optim.SGD, image: Tensor) -> float:
    """Train one step on every output of the model and return the loss; the gradients stay."""
    optimizer.zero_grad()
    with seeded(0):
        output = model(image)
        target = torch.randint(CLASSES, (len(image), *image.shape[-2:]))
    outputs = list(output.values()) if isinstance(output, dict) else [output]
    loss = torch.stack([F.cross_entropy(logits, target) for logits in outputs]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def _gradient_fault(model: nn.Module) -> str:
    """Say what is wrong with a gradient; a zero one is no fault by itself."""
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            return f"no gradient reaches {name}"
        if not _finite(parameter.grad):
            return f"the gradient of {name} is not finite"
    return ""


def _zero_gradients(model: nn.Module) -> list[str]:
    # Biases before a batch norm have gradients that vanish by right.
    return [name for name, parameter in model.named_parameters() if parameter.ndim > 1 and not _nonzero(parameter.grad)]


def _nonzero(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.any())


def _finite(tensor: Tensor) -> bool:
    """Look at the extremes alone, which are NaN where anything is; large networks have many values."""
    return tensor.numel() == 0 or all(extreme.isfinite() for extreme in torch.aminmax(tensor.detach()))


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers, those outside the state dict as well."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _clone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]


def _outputs_of(part: nn.Module, model: nn.Module, image: Tensor, seed: int) -> list[Tensor]:
    """Return what every layer of a part gives in one pass; the model may call a layer without the part around it."""
    seen: list[Tensor] = []
    hooks = [module.register_forward_hook(_keep(seen)) for module in part.modules()]
    try:
        with seeded(seed):
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _keep(seen: list[Tensor]) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: object, output: object) -> None:
        seen.extend(tensor.detach().clone() for tensor in _flatten(output))

    return hook


def _flatten(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _flatten(item)
