"""The learning-rate range test (arXiv:1506.01186, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from segzoo.data.draws import derive_seed
from segzoo.data.loading.loaders import train_loader
from segzoo.errors import TrainingError
from segzoo.recipe import Recipe
from segzoo.runtime.device import choose_device, fix_cublas, on_device, set_threads
from segzoo.runtime.launch import refuse_launcher
from segzoo.runtime.out_of_memory import explaining_memory
from segzoo.training.building import build_parts
from segzoo.training.freezing import Freezer
from segzoo.training.parts import shortage
from segzoo.training.steps.optimizers import set_learning_rate
from segzoo.training.steps.step import TrainStep

SMOOTHING = 0.9
"""Share of the running loss that each step keeps."""

DIVERGED = 4.0
"""The test ends where the running loss is so many times its lowest."""


@dataclass(frozen=True)
class RangeTest:
    """Learning rates in rising order, and the running loss at each.

    Args:
        rates: One learning rate for each step.
        losses: The running mean of the loss.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """The learning rate at which the loss falls fastest, before its lowest.

        Raises:
            TrainingError: If the loss never fell.
        """
        lowest = min(range(len(self.losses)), key=self.losses.__getitem__)
        slopes = [
            (self.losses[place + 1] - self.losses[place - 1])
            / (math.log(self.rates[place + 1]) - math.log(self.rates[place - 1]))
            for place in range(1, lowest)
        ]
        if not slopes or min(slopes) >= 0:
            raise TrainingError(
                f"the loss did not fall between {self.rates[0]:g} and {self.rates[-1]:g}; try other --start and --end, "
                "or more --steps"
            )
        return self.rates[1 + slopes.index(min(slopes))]


def find_learning_rate(recipe: Recipe, *, device: str, start: float, end: float, steps: int) -> RangeTest:
    """Train with a learning rate that grows from step to step, and note the loss; nothing is written.

    Args:
        recipe: A resolved recipe; its schedule is not used.
        device: ``auto``, or a torch device.
        start: First learning rate.
        end: Last learning rate; the test ends before where the loss explodes.
        steps: Optimizer steps.

    Raises:
        SegzooError: If data, device or model are at fault.
    """
    refuse_launcher("lr-find")
    chosen = choose_device(device)
    fix_cublas(chosen, deterministic=recipe.train.deterministic)
    set_threads(recipe.train.threads)
    with on_device(chosen):
        return _range_test(recipe, chosen, start=start, end=end, steps=steps)


def _range_test(recipe: Recipe, device: torch.device, *, start: float, end: float, steps: int) -> RangeTest:
    parts, _ = build_parts(recipe, device)
    Freezer(parts.model, recipe.transfer, parts.cut).begin_epoch(1)
    step = TrainStep(
        predictor=parts.predictor,
        loss=parts.loss,
        optimizer=parts.optimizer,
        scaler=parts.scaler,
        average=None,
        grad_clip=recipe.train.grad_clip,
        device=device,
    )
    loader = iter(
        train_loader(
            parts.data.source,
            "train",
            parts.data.transform,
            parts.data.plan,
            seed=recipe.train.seed,
            start=0,
            stop=steps,
            workers=parts.workers,
            pin_memory=device.type == "cuda",
        )
    )
    rates: list[float] = []
    losses: list[float] = []
    running = 0.0
    for place in range(steps):
        rate = start * (end / start) ** (place / max(steps - 1, 1))
        torch.manual_seed(derive_seed(recipe.train.seed, "step", place))
        set_learning_rate(parts.optimizer, rate)
        with explaining_memory(lambda: shortage(f"in step {len(rates) + 1}", recipe, parts.data.plan)):
            loss = float(step(list(islice(loader, parts.data.plan.batches_per_step))))
        running = SMOOTHING * running + (1 - SMOOTHING) * loss
        smooth = running / (1 - SMOOTHING ** (place + 1))
        if not math.isfinite(smooth) or (losses and smooth > DIVERGED * min(losses)):
            break
        rates.append(rate)
        losses.append(smooth)
    return RangeTest(tuple(rates), tuple(losses))


def draw_range_test(path: Path, rates: Sequence[float], losses: Sequence[float], suggestion: float) -> None:
    """Draw loss over learning rate, with the suggestion marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses)
    axes.axvline(suggestion, linestyle="--", color="tab:red", label=f"steepest fall: {suggestion:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, running mean")
    axes.legend()
    figure.savefig(path, dpi=120)
