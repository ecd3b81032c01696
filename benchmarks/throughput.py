"""Training images a second: the step alone, the loop of `segzoo finetune`, and a plain training loop.

Usage: python benchmarks/throughput.py [--device cuda] [--rounds 3] [--out benchmarks/results/throughput.json]

All sides train the same model on the same files with the same augmentation and batch, in turns, in one run.

- step: the optimizer step of segzoo on batches that already lie on the device: what the device can do.
- segzoo: `segzoo finetune` as it is, from files; the epochs that compile and fill caches are left out.
- plain: what many scripts do: float32, Normalize in the workers, a fresh float32 batch copied in each step, the loss
  read in each step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from loader import IMAGES, VOID, PlainDataset, draw_data, entries, use_one_core
from torch.utils.data import DataLoader

from segzoo import create_model
from segzoo.data.loading.loaders import Batch, train_loader
from segzoo.environment import collect
from segzoo.plugins import default_registry
from segzoo.recipe import Recipe, load_recipe, resolve_recipe
from segzoo.runtime.device import choose_device
from segzoo.training.building import build_parts
from segzoo.training.finetune import finetune
from segzoo.training.steps.step import TrainStep

TARGETS = {"step": 0.95, "plain": 3.0}
"""What the loop of segzoo is to reach, as a ratio to each other side, for unet_resnet34 at 512x512 pixels, bf16."""


def recipe_of(arguments: argparse.Namespace, root: Path, epochs: int) -> Recipe:
    """Return the resolved recipe of segzoo's sides."""
    changes = [
        f"model.name={arguments.model}",
        "model.weights=null",
        f"data.root={root}",
        "data.splits=" + json.dumps({"train": "train", "val": "train"}),
        f"data.image_size=[{arguments.size},{arguments.size}]",
        "augment=" + json.dumps(entries(arguments.size)),
        'loss=[{"name":"cross_entropy"}]',
        f"train.batch_size={arguments.batch}",
        f"train.precision={arguments.precision}",
        f"train.channels_last={json.dumps(arguments.precision != 'fp32')}",
        f"train.compile={json.dumps(arguments.compile)}",
        f"train.workers={arguments.workers}",
        f"train.epochs={epochs}",
        f"eval.every_epochs={epochs}",
    ]
    return resolve_recipe(load_recipe("camvid_segnet", changes), default_registry())


def step_rate(recipe: Recipe, device: torch.device, steps: int) -> float:
    """Return images a second of the step alone."""
    parts, _ = build_parts(recipe, device)
    step = TrainStep(
        predictor=parts.predictor,
        loss=parts.loss,
        optimizer=parts.optimizer,
        scaler=parts.scaler,
        average=None,
        grad_clip=None,
        device=device,
    )
    batches = train_loader(
        parts.data.source,
        "train",
        parts.data.transform,
        parts.data.plan,
        seed=0,
        start=0,
        stop=4,
        workers=0,
        pin_memory=False,
    )
    held = [Batch(batch.images.to(device), batch.masks.to(device), batch.names) for batch in batches]
    endless = itertools.cycle(held)
    for _ in range(3):
        step([next(endless)])
    wait_for(device)
    started = time.perf_counter()
    for _ in range(steps):
        step([next(endless)])
    wait_for(device)
    return steps * recipe.train.batch_size / (time.perf_counter() - started)


def loop_rate(recipe: Recipe, device: torch.device, warm_up: int) -> float:
    """Return images a second of the epochs of a run, after the first few."""
    with tempfile.TemporaryDirectory() as folder:
        run = finetune(recipe, out=Path(folder) / "run", device=str(device))
        return float(statistics.median(row["images_per_second"] for row in run.metrics[warm_up:]))


def plain_rate(recipe: Recipe, device: torch.device, arguments: argparse.Namespace) -> float:
    """Return images a second of the plain loop."""
    parts, _ = build_parts(recipe, torch.device("cpu"))
    loader = DataLoader(
        PlainDataset(parts.data.source.splits["train"], arguments.size),
        batch_size=arguments.batch,
        shuffle=True,
        drop_last=True,
        num_workers=arguments.workers,
        persistent_workers=arguments.workers > 0,
        pin_memory=device.type == "cuda",
        worker_init_fn=use_one_core,
    )
    model = create_model(arguments.model, num_classes=len(parts.data.source.classes)).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    warm = max(len(loader), 3)
    started = time.perf_counter()
    for number, (image, mask) in enumerate(itertools.islice(endless(loader), warm + arguments.steps)):
        if number == warm:
            started = time.perf_counter()
        optimizer.zero_grad()
        target = mask.long().to(device)
        target[target == VOID] = 255
        loss = F.cross_entropy(model(image.to(device)), target, ignore_index=255)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
    images: int = arguments.steps * arguments.batch
    return images / (time.perf_counter() - started)


def endless(loader: DataLoader[Any]) -> Any:  # noqa: ANN401 - whatever the loader yields
    """Yield batches, epoch after epoch."""
    while True:
        yield from loader


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the rates of all sides and the ratios of segzoo's loop to each."""
    device = choose_device(arguments.device)
    recipe = recipe_of(arguments, root, arguments.warm_up + arguments.epochs)
    rates: dict[str, list[float]] = {"step": [], "segzoo": [], "plain": []}
    for number in range(arguments.rounds):
        rates["plain"].append(plain_rate(recipe, device, arguments))
        rates["step"].append(step_rate(recipe, device, arguments.steps))
        rates["segzoo"].append(loop_rate(recipe, device, arguments.warm_up))
        print(f"round {number + 1}: " + ", ".join(f"{side} {found[-1]:.1f}" for side, found in rates.items()))
    pairs = {side: zip(rates["segzoo"], found, strict=True) for side, found in rates.items() if side != "segzoo"}
    ratios = {side: round(statistics.median(ours / theirs for ours, theirs in each), 3) for side, each in pairs.items()}
    for side, found in rates.items():
        print(f"{side:7} {statistics.median(found):8.1f} images/s")
    for side, ratio in ratios.items():
        verdict = "reached" if ratio >= TARGETS[side] else "missed"
        print(f"segzoo over {side:6} {ratio:.2f}  (target {TARGETS[side]} on a GPU: {verdict})")
    return {"images_per_second": rates, "ratios": ratios, "targets": TARGETS, "load_average": os.getloadavg()[0]}


def main() -> None:
    """Draw the data, measure, and write the result with the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="unet_resnet34")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="bf16")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=max((os.cpu_count() or 2) - 1, 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--steps", type=int, default=60, help="steps that are timed, of the step alone and the plain loop"
    )
    parser.add_argument("--epochs", type=int, default=4, help="epochs of the run that are timed")
    parser.add_argument("--warm-up", type=int, default=2, help="epochs of the run before them")
    parser.add_argument("--images", type=int, default=IMAGES, help="images that are drawn")
    parser.add_argument("--copies", type=int, default=16, help="how often the drawn images are repeated in an epoch")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_data(root, images=arguments.images, copies=arguments.copies)
        result = measure(root, arguments)
    if arguments.out:
        settings = {key: value for key, value in vars(arguments).items() if key != "out"}
        arguments.out.write_text(
            json.dumps({"settings": settings, **result, "environment": collect()}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
