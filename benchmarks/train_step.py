"""Training images a second of the optimizer step: as it is, compiled, as one CUDA graph, and both.

Usage: python benchmarks/train_step.py [--device cuda] [--batch 8] [--size 256] [--out FILE]

All sides make the steps of one recipe on the same bytes in page-locked memory, in turns, in one process. Each side is
built once; compiling and recording come before what is timed. Without a GPU there are no graphs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segzoo.data.loading.loaders import Batch
from segzoo.environment import collect
from segzoo.plugins import default_registry
from segzoo.recipe import load_recipe, resolve_recipe
from segzoo.runtime.device import choose_device
from segzoo.training.building import build_parts
from segzoo.training.steps.graph_step import GraphStep
from segzoo.training.steps.step import Trainable, TrainStep

SIDES = {"eager": (False, False), "compiled": (True, False), "graph": (False, True), "compiled+graph": (True, True)}
"""Whether each side compiles, and whether it records."""

WARM_UP = 6
CLASSES = 5

Step = Callable[[Sequence[Trainable]], Tensor]


def build(arguments: argparse.Namespace, device: torch.device, side: str) -> Step:
    """Return the step of a side."""
    compiled, recorded = SIDES[side]
    changes = [
        f"model.name={arguments.model}",
        "model.weights=null",
        f"data.size=[{arguments.size},{arguments.size}]",
        f"data.image_size=[{arguments.size},{arguments.size}]",
        f"data.num_classes={CLASSES}",
        "data.counts=" + json.dumps({"train": arguments.batch, "val": 1}),
        f"train.batch_size={arguments.batch}",
        f"train.precision={arguments.precision}",
        f"train.channels_last={json.dumps(arguments.precision != 'fp32')}",
        f"train.compile={json.dumps(compiled)}",
        f"train.cuda_graph={json.dumps(recorded)}",
    ]
    recipe = resolve_recipe(load_recipe("quickstart", changes), default_registry())
    parts, _ = build_parts(recipe, device)
    step = TrainStep(
        predictor=parts.predictor,
        loss=parts.loss,
        optimizer=parts.optimizer,
        scaler=parts.scaler,
        average=parts.average,
        grad_clip=recipe.train.grad_clip,
        device=device,
    )
    return GraphStep(step) if recorded else step


def draw_batch(arguments: argparse.Namespace, device: torch.device) -> Batch:
    """Return random bytes and labels, where a GPU copies them from without waiting."""
    shape = (arguments.batch, 3, arguments.size, arguments.size)
    images = torch.randint(256, shape, dtype=torch.uint8)
    masks = torch.randint(CLASSES, (shape[0], *shape[2:]), dtype=torch.uint8)
    if device.type == "cuda":
        images, masks = images.pin_memory(), masks.pin_memory()
    return Batch(images, masks, ("drawn",) * arguments.batch)


def rate(step: Step, batch: Batch, device: torch.device, steps: int) -> float:
    """Return images a second."""
    wait_for(device)
    started = time.perf_counter()
    for _ in range(steps):
        step([batch])
    wait_for(device)
    return steps * len(batch.names) / (time.perf_counter() - started)


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the rates of all sides, and their ratios to the eager step within a round."""
    device = choose_device(arguments.device)
    batch = draw_batch(arguments, device)
    sides = [side for side in arguments.sides if device.type == "cuda" or not SIDES[side][1]]
    steps = {side: build(arguments, device, side) for side in sides}
    for step in steps.values():
        rate(step, batch, device, WARM_UP)
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(arguments.rounds):
        for side, step in steps.items():
            rates[side].append(rate(step, batch, device, arguments.steps))
    ratios = {
        side: round(statistics.median(ours / eager for ours, eager in zip(found, rates["eager"], strict=True)), 3)
        for side, found in rates.items()
    }
    for side, found in rates.items():
        print(f"{side:15} {statistics.median(found):9.1f} images/s  {ratios[side]:.2f} times the eager step")
    return {"images_per_second": rates, "ratios": ratios, "load_average": os.getloadavg()[0]}


def main() -> None:
    """Measure, and write the result with the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="fast_scnn")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="bf16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sides", nargs="+", choices=tuple(SIDES), default=tuple(SIDES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="steps that are timed in each round")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if "eager" not in arguments.sides:
        parser.error("--sides needs 'eager', which the others are compared with")
    result = measure(arguments)
    if arguments.out:
        settings = {key: value for key, value in vars(arguments).items() if key != "out"}
        arguments.out.write_text(
            json.dumps({"settings": settings, **result, "environment": collect()}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
