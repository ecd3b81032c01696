"""The optimizer step as one CUDA graph: recorded once, then launched as a whole for each batch of the same shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from segzoo.errors import TrainingError
from segzoo.runtime.out_of_memory import is_out_of_memory
from segzoo.training.steps.step import Trainable, TrainStep, replaced

WARM_UP = 3
"""Steps before the recording: in them kernels are chosen, and the optimizer allocates what it keeps."""

Shapes = list[tuple[torch.Size, torch.Size]]


class GraphStep:
    """Makes the steps of a :class:`TrainStep`, from the fourth on as one CUDA graph.

    Every call is one step of the run. The first ones run as they are, on a side stream. Then a step is recorded, which
    executes nothing, and from there on each batch is copied to where the recording reads it. Batches of another shape
    than the first run as they are. What changes from step to step lies on the device: the learning rates, which are
    filled in before each launch, and the seed of torch's generator, which a graph reads when it is launched.

    Args:
        step: The step, on a CUDA device, with a fused optimizer.
    """

    def __init__(self, step: TrainStep) -> None:
        self._step = step
        self._side = torch.cuda.Stream(step.device)  # type: ignore[no-untyped-call]
        self._shapes: Shapes | None = None
        self._warm = 0
        self._recording: _Recording | None = None

    def __call__(self, batches: Sequence[Trainable]) -> Tensor:
        """Do what the step does, and return the same loss.

        Raises:
            TrainingError: If the step cannot be recorded.
        """
        shapes = _shapes(batches)
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            return self._step(batches)
        if self._warm < WARM_UP:
            self._warm += 1
            return self._warm_up(batches)
        if self._recording is None:
            self._recording = _record(self._step, batches, self._side)
        return self._recording.replay(batches)

    def _warm_up(self, batches: Sequence[Trainable]) -> Tensor:
        current = torch.cuda.current_stream(self._step.device)
        self._side.wait_stream(current)
        with torch.cuda.stream(self._side):
            loss = self._step(batches)
        current.wait_stream(self._side)
        return loss


class _Held(NamedTuple):
    """A batch in the memory that the recording reads."""

    images: Tensor
    masks: Tensor


class _Recording(NamedTuple):
    step: TrainStep
    graph: torch.cuda.CUDAGraph
    held: list[_Held]
    rates: list[Tensor]
    loss: Tensor

    def replay(self, batches: Sequence[Trainable]) -> Tensor:
        for held, batch in zip(self.held, batches, strict=True):
            held.images.copy_(cast(Tensor, batch.images), non_blocking=True)
            held.masks.copy_(batch.masks, non_blocking=True)
        # Two launches, however many groups there are.
        torch._foreach_zero_(self.rates)
        torch._foreach_add_(self.rates, [group["lr"] for group in self.step.optimizer.param_groups])
        self.graph.replay()
        return self.loss.clone()


def _record(step: TrainStep, batches: Sequence[Trainable], stream: torch.cuda.Stream) -> _Recording:
    """Record a step without executing it."""
    groups = step.optimizer.param_groups
    held = [_Held(*(_empty_like(part, step.device) for part in (batch.images, batch.masks))) for batch in batches]
    rates = [torch.zeros((), device=step.device) for _ in groups]
    # Fused optimizers keep everything on the device, but Adam looks whether that was asked for.
    values = [
        {"lr": rate, **({"capturable": True} if "capturable" in group else {})}
        for group, rate in zip(groups, rates, strict=True)
    ]
    graph = torch.cuda.CUDAGraph()
    step.optimizer.zero_grad(set_to_none=True)  # the recording has gradients of its own
    try:
        with replaced(groups, values), torch.cuda.graph(graph, stream=stream):
            loss = step(held)
    except RuntimeError as error:
        # The end of a recording that failed raises again, and says less.
        cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
        if is_out_of_memory(cause):
            raise cause from None
        raise TrainingError(
            f"the optimizer step cannot be recorded as a CUDA graph: {str(cause).splitlines()[0]}. Set "
            "train.cuda_graph to false"
        ) from cause
    return _Recording(step, graph, held, rates, loss)


def _shapes(batches: Sequence[Trainable]) -> Shapes:
    return [(cast(Tensor, batch.images).shape, batch.masks.shape) for batch in batches]


def _empty_like(part: object, device: torch.device) -> Tensor:
    return torch.empty_like(cast(Tensor, part), device=device)
