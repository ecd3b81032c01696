"""How fast the quickstart model trains beside another training run, with and without segzoo's OpenMP spin count.

Usage: python benchmarks/spin_wait.py [--repeats 3] [--out benchmarks/results/spin_wait.json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from segzoo.environment import collect
from segzoo.training.finetune import SPIN_COUNT

# Trains for some seconds on random images and prints images per second.
CHILD = """
import sys, time, torch, segzoo
torch.set_num_threads({threads})
torch.manual_seed(0)
model = segzoo.create_model("fast_scnn", num_classes=5).train()
images, target = torch.randn(16, 3, 96, 96), torch.randint(5, (16, 96, 96))
optimizer = torch.optim.AdamW(model.parameters())
def step():
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), target).backward()
    optimizer.step()
step()
print("ready", flush=True)
sys.stdin.readline()
steps, started = 0, time.perf_counter()
while time.perf_counter() - started < {seconds}:
    step()
    steps += 1
print(16 * steps / (time.perf_counter() - started))
"""


def train(processes: int, spin_count: str | None, seconds: float) -> list[float]:
    """Return the images per second of each of some processes that train side by side on the same cores."""
    threads = len(os.sched_getaffinity(0))
    settings = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_NUM_THREADS")}
    if spin_count is not None:
        settings["GOMP_SPINCOUNT"] = spin_count
    command = [sys.executable, "-c", CHILD.format(threads=threads, seconds=seconds)]
    children = [
        subprocess.Popen(command, env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return [float(child.communicate()[0]) for child in children]


def main() -> None:
    """Measure one and two processes under both settings, alternating, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rates: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):
        for processes in (1, 2):
            for name, spin_count in (("default", None), (SPIN_COUNT, SPIN_COUNT)):
                found = train(processes, spin_count, arguments.seconds)
                label = f"{processes} process{'es' if processes > 1 else ''}, spin {name}"
                rates.setdefault(label, []).append(sum(found))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in medians.items():
        print(f"{name:<28} {value:8.1f} images/s in all")
    ratios = {
        name: medians[f"{name}, spin {SPIN_COUNT}"] / medians[f"{name}, spin default"]
        for name in ("1 process", "2 processes")
    }
    for name, ratio in ratios.items():
        print(f"ratio with {name}: {ratio:.2f}")
    if arguments.out:
        result = {"images_per_second": rates, "median": medians, "ratio": ratios, "environment": collect()}
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
