"""How much faster an epoch is with kept features than with a frozen encoder that runs in every step.

Usage: python benchmarks/feature_cache.py [--epochs 3] [--images 367] [--out benchmarks/results/feature_cache.json]

All sides train one model on the same drawn scenes of 256x256 pixels, without augmentation, in one process and one run;
there are as many as CamVid has images.
They start from weights that one epoch of ordinary training left: features of random weights drive the scores so far
apart that gradients underflow, which slows a processor down. An epoch is everything between two lines of
metrics.jsonl: training, validation, the audit and the checkpoint; the first one, which also computes the features, is
told apart.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from segzoo.environment import collect
from segzoo.recipe import load_recipe
from segzoo.runs.rundir import RunDirectory
from segzoo.training.finetune import finetune

SIDES = {
    "frozen_encoder": ["transfer.strategy=frozen_encoder"],
    "feature_hook, memory": ["transfer.strategy=feature_hook", "transfer.cache=memory"],
    "feature_hook, disk": ["transfer.strategy=feature_hook", "transfer.cache=disk"],
    "feature_identity, memory": ["transfer.strategy=feature_identity", "transfer.cache=memory"],
}
TARGET = 20.0


def epochs(changes: list[str], folder: Path) -> list[float]:
    """Train, and return the seconds of each epoch; the first one counts from the start of the training."""
    ends = [time.perf_counter()]

    def note(run: RunDirectory, row: Mapping[str, Any]) -> None:
        ends.append(time.perf_counter())
        append(run, row)

    append = RunDirectory.append_row
    with mock.patch.object(RunDirectory, "append_row", note):
        finetune(load_recipe("quickstart", changes), out=folder, device="cpu")
    return [after - before for before, after in itertools.pairwise(ends)]


def main() -> None:
    """Measure, print the ratios and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=367)
    parser.add_argument("--model", default="unet_resnet34")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    common = [
        f"model.name={arguments.model}",
        "augment=[]",
        "data.size=[256,256]",
        "data.image_size=[256,256]",
        f'data.counts={{"train":{arguments.images},"val":{arguments.images // 4}}}',
        "train.batch_size=8",
        "train.channels_last=true",
    ]
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        epochs([*common, "model.weights=null", "train.epochs=1"], start)
        common += [f"model.weights={start}", f"train.epochs={arguments.epochs}"]
        for number, (side, changes) in enumerate(SIDES.items()):
            seconds[side] = epochs([*common, *changes], Path(folder) / str(number))
            later = statistics.median(seconds[side][1:])
            print(f"{side:26} first epoch {seconds[side][0]:7.2f} s, later ones {later:7.2f} s")
    slow = statistics.median(seconds["frozen_encoder"][1:])
    ratios = {side: round(slow / statistics.median(each[1:]), 1) for side, each in seconds.items()}
    for side, ratio in ratios.items():
        print(f"{side:26} {ratio:6.1f} times as fast as frozen_encoder (target {TARGET:g})")
    if arguments.out:
        result = {
            "seconds": seconds,
            "ratios": ratios,
            "model": arguments.model,
            "images": {"train": arguments.images, "val": arguments.images // 4},
            "environment": collect(),
        }
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
