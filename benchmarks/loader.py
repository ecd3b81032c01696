"""How many images a second the training loader delivers beside a plain albumentations loader with the same transforms.

Usage: python benchmarks/loader.py [--data FOLDER] [--rounds 5] [--out benchmarks/results/loader.json]

The plain loader decodes with OpenCV, scales, pads, crops, flips, changes brightness, normalises and turns to tensors in
its workers, and collates float32 batches, as most training scripts do. Both sides run alternately in short rounds on
the same files; ratios are taken within a round. Nothing consumes the batches.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import albumentations
import cv2
import torch
from albumentations.pytorch import ToTensorV2
from torch.utils.data import DataLoader, Dataset

from segzoo.data.formats.files import after_scan
from segzoo.data.formats.shapes import draw_scene
from segzoo.data.loading.loaders import train_loader
from segzoo.data.loading.plan import Plan
from segzoo.data.opening import open_source
from segzoo.data.source import Sample, Source
from segzoo.data.transforms import build_augmentation
from segzoo.environment import collect
from segzoo.recipe.data import CamvidData
from segzoo.recipe.schema import AugmentEntry

BATCH_SIZE = 32
WARM_UP = 4
IMAGES, HEIGHT, WIDTH, CLASSES, VOID = 160, 360, 480, 7, 11
"""What is drawn where no data is given: as large as CamVid, JPEG images of about 40 kB with masks in grey PNGs."""

SIDES = ("plain", "segzoo", "segzoo, first epoch", "segzoo, cached")
TARGETS = {256: {"segzoo": 1.4, "segzoo, cached": 1.8}, 512: {"segzoo": 2.2, "segzoo, cached": 3.0}}


def entries(size: int) -> list[dict[str, Any]]:
    """Return the transforms of both sides."""
    return [
        {"name": "RandomScale", "scale_limit": [-0.5, 0.5], "p": 1.0},
        {"name": "PadIfNeeded", "min_height": size, "min_width": size, "border_mode": 0, "fill_mask": 255},
        {"name": "RandomCrop", "height": size, "width": size, "p": 1.0},
        {"name": "HorizontalFlip", "p": 0.5},
        {"name": "RandomBrightnessContrast", "p": 0.5},
    ]


class PlainDataset(Dataset[Any]):
    """What a training script usually has: one decoded, augmented and normalised sample per index."""

    def __init__(self, samples: Sequence[Sample], size: int) -> None:
        self.samples = samples
        transforms = [
            getattr(albumentations, entry["name"])(**{key: value for key, value in entry.items() if key != "name"})
            for entry in entries(size)
        ]
        self.transform = albumentations.Compose([*transforms, albumentations.Normalize(), ToTensorV2()])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        sample = self.samples[index]
        image = cv2.cvtColor(cv2.imread(str(sample.image)), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
        mask = cv2.imread(str(sample.mask), cv2.IMREAD_UNCHANGED)
        result = self.transform(image=image, mask=mask)
        return result["image"], result["mask"]


def plain_batches(samples: Sequence[Sample], size: int, workers: int) -> Generator[Any]:
    """Yield the plain loader's batches, epoch after epoch, from workers that persist."""
    loader = DataLoader(
        PlainDataset(samples, size),
        batch_size=BATCH_SIZE,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
        worker_init_fn=use_one_core,
    )
    while True:
        yield from loader


def use_one_core(_: int) -> None:
    """Keep OpenCV from starting threads in a worker."""
    cv2.setNumThreads(0)


def segzoo_batches(source: Source, size: int, workers: int, *, cache: bool) -> Generator[Any]:
    """Yield segzoo's batches, with decoded images kept in memory or without."""
    plan = Plan(len(source.splits["train"]), BATCH_SIZE, 0)
    parsed = [AugmentEntry.model_validate_json(json.dumps(entry)) for entry in entries(size)]
    transform = build_augmentation(parsed, ignore_index=source.ignore_index, image_size=(size, size))
    yield from train_loader(
        source,
        "train",
        transform,
        plan,
        seed=0,
        start=0,
        stop=10**6,
        workers=workers,
        pin_memory=False,
        cache_bytes=None if cache else 0,
    )


def rate(batches: Iterator[Any], skip: int, count: int) -> dict[str, float]:
    """Return images per second, and processor milliseconds per image, over some batches after others."""
    for _ in range(skip):
        next(batches)
    started, used = time.perf_counter(), cpu_seconds()
    for _ in range(count):
        next(batches)
    images = count * BATCH_SIZE
    return {
        "images_per_second": images / (time.perf_counter() - started),
        "cpu_ms_per_image": 1000 * (cpu_seconds() - used) / images,
    }


def cpu_seconds() -> float:
    """Return the processor time of this process and of the workers that are alive."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def measure(source: Source, size: int, workers: int, count: int) -> dict[str, dict[str, float]]:
    """Return one round: every side once, each with workers of its own."""
    samples = source.splits["train"]
    epoch = len(samples) // BATCH_SIZE
    with closing(plain_batches(samples, size, workers)) as batches:
        plain = rate(batches, WARM_UP, count)
    with closing(segzoo_batches(source, size, workers, cache=False)) as batches:
        every_time = rate(batches, WARM_UP, count)
    with closing(segzoo_batches(source, size, workers, cache=True)) as batches:
        filling = rate(batches, 1, max(epoch - 1, 1))
        kept = rate(batches, epoch, count)
    return dict(zip(SIDES, (plain, every_time, filling, kept), strict=True))


def summarise(rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the medians of each side, and of its ratio to the plain loader within a round."""
    figures = {}
    for side in SIDES:
        figures[side] = {
            "images_per_second": median(found[side]["images_per_second"] for found in rounds),
            "cpu_ms_per_image": median(found[side]["cpu_ms_per_image"] for found in rounds),
            "ratio": median(quotient(found, side, "images_per_second") for found in rounds),
            "cpu_ratio": median(1 / quotient(found, side, "cpu_ms_per_image") for found in rounds),
        }
    return figures


def median(values: Iterable[float]) -> float:
    """Return the median, rounded."""
    return round(statistics.median(values), 3)


def quotient(found: dict[str, dict[str, float]], side: str, key: str) -> float:
    """Return a side's figure over the plain loader's."""
    return found[side][key] / found["plain"][key]


def draw_data(folder: Path, *, images: int = IMAGES, split: str = "train") -> None:
    """Write a split in the layout of CamVid; more images than ``IMAGES`` repeat them under other names."""
    drawn = min(images, IMAGES)
    for kind in ("images", "masks"):
        (folder / split / kind).mkdir(parents=True)
    for number in range(drawn):
        image, mask = draw_scene(number, size=(HEIGHT, WIDTH), num_classes=CLASSES, ignore_index=VOID)
        soft = cv2.GaussianBlur(image, (3, 3), 0)
        cv2.imwrite(str(folder / f"{split}/images/{number:05d}.jpg"), cv2.cvtColor(soft, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(folder / f"{split}/masks/{number:05d}.png"), mask)
    for number in range(drawn, images):
        for kind, ending in (("images", "jpg"), ("masks", "png")):
            path = folder / split / kind
            shutil.copyfile(path / f"{number % drawn:05d}.{ending}", path / f"{number:05d}.{ending}")


def run(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all sizes, print a table and return everything."""
    source = open_source(CamvidData(format="camvid", root=str(root), splits={"train": "train"}), seed=0)
    source = after_scan(source)  # as a run does, which scans first
    sizes = {}
    for size in arguments.sizes:
        rounds, loads = [], []
        for _ in range(arguments.rounds):
            rounds.append(measure(source, size, arguments.workers, arguments.batches))
            loads.append(os.getloadavg()[0])
        figures = summarise(rounds)
        sizes[str(size)] = {"median": figures, "rounds": rounds, "load_average": loads}
        print(f"{size}x{size}, {arguments.workers} workers, load average {median(loads):.1f}")
        for side, found in figures.items():
            target = TARGETS.get(size, {}).get(side)
            print(
                f"  {side:<20} {found['images_per_second']:7.0f} images/s  ratio {found['ratio']:.2f}"
                f"  processor {found['cpu_ms_per_image']:.2f} ms an image, ratio {found['cpu_ratio']:.2f}"
                + (f"  (target {target})" if target else "")
            )
    return {"images": len(source.splits["train"]), "workers": arguments.workers, "sizes": sizes}


def main() -> None:
    """Measure, and write the result with the environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="a folder in the layout of CamVid; absent draws scenes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=24, help="batches that are timed in a round")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.data:
        result = run(arguments.data, arguments)
    else:
        with tempfile.TemporaryDirectory() as folder:
            draw_data(Path(folder))
            result = run(Path(folder), arguments)
    if arguments.out:
        result |= {"data": arguments.data.name if arguments.data else "drawn scenes", "environment": collect()}
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
