"""Training images a second: the step alone, the loop of `segzoo finetune`, and a plain training loop.

Usage: python benchmarks/throughput.py [--device cuda] [--rounds 3] [--out benchmarks/results/throughput.json]

All sides train the same model on the same files with the same augmentation and batch, in turns, in one run.

- step: the optimizer step of segzoo on batches that already lie on the device: what the device can do.
- segzoo: `segzoo finetune` as it is, in a process of its own, from files; the epochs that compile and fill caches are
  left out. The rate is that of `metrics.jsonl`, which counts the time of training, not that of validation and
  checkpoints. An epoch has many more steps than the loader keeps ready, so that what it prepares during a checkpoint
  does not count. `segzoo_whole` is the rate of the same epochs from one line of `metrics.jsonl` to the next,
  checkpoints included.
- plain: what many scripts do: float32 (convolutions in TF32, torch's default), cuDNN's choice of algorithms, Normalize
  in the workers, a fresh float32 batch copied in each step, the loss read in each step.

The targets hold for unet_resnet34 at 512x512 pixels, batch 32, bf16, compiled, on a GPU; they judge nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from gpu.judge import THROUGHPUT
from loader import VOID, PlainDataset, draw_data, entries, use_one_core
from torch.utils.data import DataLoader

from segzoo import create_model
from segzoo.data.loading.loaders import Batch, train_loader
from segzoo.data.source import Source
from segzoo.environment import collect
from segzoo.files import write_atomic
from segzoo.plugins import default_registry
from segzoo.recipe import Recipe, load_recipe, recipe_json, resolve_recipe
from segzoo.runtime.device import choose_device
from segzoo.training.building import build_parts
from segzoo.training.finetune import Run
from segzoo.training.steps.step import TrainStep

JUDGED = {"model": "unet_resnet34", "size": 512, "batch": 32, "precision": "bf16", "compile": True}
"""The settings for which the targets hold."""

HELD, SCORED, WARM_STEPS = 4, 8, 3
"""Batches that lie on the device, images of the validation, and steps before those that are timed."""


def recipe_of(arguments: argparse.Namespace, root: Path, epochs: int) -> Recipe:
    """Return the resolved recipe of segzoo's sides."""
    changes = [
        f"model.name={arguments.model}",
        "model.weights=null",
        f"data.root={root}",
        "data.splits=" + json.dumps({"train": "train", "val": "val"}),
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
    # Kernels of the other sides' models would count against the number of recompilations.
    torch.compiler.reset()
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
    data = parts.data
    batches = train_loader(
        data.source, "train", data.transform, data.plan, seed=0, start=0, stop=HELD, workers=0, pin_memory=False
    )
    held = [Batch(batch.images.to(device), batch.masks.to(device), batch.names) for batch in batches]
    endless = itertools.cycle(held)
    for _ in range(WARM_STEPS):
        step([next(endless)])
    wait_for(device)
    started = time.perf_counter()
    for _ in range(steps):
        step([next(endless)])
    wait_for(device)
    return steps * recipe.train.batch_size / (time.perf_counter() - started)


class Loop(NamedTuple):
    """The pace of a run, medians over its epochs after the first few.

    Args:
        rate: Images a second of training.
        whole: Images a second, checkpoints and all else between two lines of ``metrics.jsonl`` included.
        data_wait: Share of the training's time in which it waited for data.
    """

    rate: float
    whole: float
    data_wait: float


def loop_pace(recipe: Recipe, device: torch.device, warm_up: int) -> Loop:
    """Train, and return the pace of the epochs after the first few."""
    with tempfile.TemporaryDirectory() as folder:
        path, run = Path(folder, "recipe.json"), Path(folder, "run")
        path.write_text(recipe_json(recipe))
        ends = epoch_ends(
            [sys.executable, "-m", "segzoo", "finetune", str(path), "--out", str(run), "--device", str(device)],
            run / "metrics.jsonl",
        )
        rows = Run(run).metrics
    images = rows[-1]["step"] // len(rows) * recipe.train.batch_size
    timed = rows[warm_up:]
    return Loop(
        rate=statistics.median(row["images_per_second"] for row in timed),
        whole=statistics.median(images / (after - before) for before, after in itertools.pairwise(ends[warm_up - 1 :])),
        data_wait=statistics.median(row["data_wait"] for row in timed),
    )


def epoch_ends(command: Sequence[str], metrics: Path) -> list[float]:
    """Run a command that must succeed, and return when each line of a file appeared, to a fiftieth of a second."""
    ends: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(0.02)
            lines = metrics.read_bytes().count(b"\n") if metrics.is_file() else 0
            ends += [time.perf_counter()] * (lines - len(ends))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return ends


def plain_rate(source: Source, device: torch.device, arguments: argparse.Namespace) -> float:
    """Return images a second of the plain loop."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    loader = DataLoader(
        PlainDataset(source.splits["train"], arguments.size),
        batch_size=arguments.batch,
        shuffle=True,
        drop_last=True,
        num_workers=arguments.workers,
        persistent_workers=arguments.workers > 0,
        pin_memory=device.type == "cuda",
        worker_init_fn=use_one_core,
    )
    model = create_model(arguments.model, num_classes=len(source.classes)).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    # As many batches as the workers prepare before the first one is taken.
    warm = max(loader.prefetch_factor or 0, 1) * arguments.workers + WARM_STEPS
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


def measure(root: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rates of all sides, and the ratios of segzoo's loop to each, after every round."""
    device = choose_device(arguments.device)
    recipe = recipe_of(arguments, root / "all", arguments.warm_up + arguments.epochs)
    few = recipe_of(arguments, root / "few", 1)
    source = build_parts(recipe, torch.device("cpu"))[0].data.source
    rates: dict[str, list[float]] = {"step": [], "segzoo": [], "segzoo_whole": [], "plain": []}
    waits: list[float] = []
    for number in range(arguments.rounds):
        rates["plain"].append(plain_rate(source, device, arguments))
        rates["step"].append(step_rate(few, device, arguments.steps))
        loop = loop_pace(recipe, device, arguments.warm_up)
        rates["segzoo"].append(loop.rate)
        rates["segzoo_whole"].append(loop.whole)
        waits.append(loop.data_wait)
        sides = ", ".join(f"{side} {found[-1]:.1f}" for side, found in rates.items())
        print(f"round {number + 1}: {sides} images/s, waited for data {loop.data_wait:.1%}", flush=True)
        load = os.getloadavg()[0]
        yield {"images_per_second": rates, "data_wait": waits, "ratios": ratios_of(rates), "load_average": load}


def ratios_of(rates: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median ratio of segzoo's loop to each other side; both of a ratio are of one round."""
    pairs = {side: zip(rates["segzoo"], rates[side], strict=True) for side in THROUGHPUT}
    return {side: round(statistics.median(ours / theirs for ours, theirs in each), 3) for side, each in pairs.items()}


def show(result: Mapping[str, Any], *, judged: bool) -> None:
    """Print the medians and the ratios, with the targets where they hold."""
    for side, found in result["images_per_second"].items():
        print(f"{side:12} {statistics.median(found):8.1f} images/s")
    for side, ratio in result["ratios"].items():
        verdict = f"target {THROUGHPUT[side]}: {'met' if ratio >= THROUGHPUT[side] else 'missed'}"
        print(f"segzoo over {side:6} {ratio:.2f}" + f"  ({verdict})" * judged)


def read_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
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
    parser.add_argument("--epoch-steps", type=int, default=200, help="steps of an epoch of the run")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of the run that are timed")
    parser.add_argument("--warm-up", type=int, default=1, help="epochs of the run before them")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for name in ("batch", "rounds", "steps", "epoch_steps", "epochs", "warm_up"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(arguments, name)}")
    return arguments


def main() -> None:
    """Draw the data, measure, and write the result with the environment after every round."""
    arguments = read_arguments()
    judged = choose_device(arguments.device).type == "cuda" and vars(arguments).items() >= JUDGED.items()
    settings = {key: value for key, value in vars(arguments).items() if key != "out"}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, steps in (("all", arguments.epoch_steps), ("few", HELD)):
            draw_data(root / name, images=steps * arguments.batch)
            draw_data(root / name, images=SCORED, split="val")
        for result in measure(root, arguments):
            if arguments.out:
                written = {"settings": settings, "judged": judged, **result, "environment": collect()}
                write_atomic(arguments.out, json.dumps(written, indent=2) + "\n")
    show(result, judged=judged)


if __name__ == "__main__":
    main()
