"""Versions, device and driver of a GPU machine, as one JSON file.

Usage: python benchmarks/gpu_facts.py --out FILE.json

Holds what ``segzoo env`` shows, what torch knows of each device, what ``nvidia-smi`` reports, and every installed
distribution.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch

from segzoo.environment import collect, package_version

QUERIES = (
    *("name", "driver_version", "vbios_version", "pstate", "temperature.gpu", "power.draw", "power.limit"),
    *("clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "clocks_throttle_reasons.active"),
    *("ecc.mode.current", "mig.mode.current", "memory.total", "memory.used", "pcie.link.gen.current"),
)


def torch_facts() -> dict[str, Any]:
    """Return what torch was built with, and what it knows of each device."""
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "triton": package_version("triton"),
        "architectures": torch.cuda.get_arch_list(),
        "tf32": {"convolutions": torch.backends.cudnn.allow_tf32, "matmuls": torch.backends.cuda.matmul.allow_tf32},
        "devices": [device_facts(index) for index in range(torch.cuda.device_count())],
    }


def device_facts(index: int) -> dict[str, Any]:
    """Return the properties of a device."""
    found = torch.cuda.get_device_properties(index)
    return {
        "name": found.name,
        "capability": [found.major, found.minor],
        "memory_bytes": found.total_memory,
        "multiprocessors": found.multi_processor_count,
        "l2_cache_bytes": getattr(found, "L2_cache_size", None),
    }


def driver_facts() -> list[dict[str, str]] | None:
    """Return what ``nvidia-smi`` reports of each GPU; None where it is missing or fails.

    Each query is a call of its own: a driver that does not know one would answer none of them.
    """
    names = query(QUERIES[0])
    if names is None:
        return None
    columns = {name: values for name in QUERIES if (values := query(name)) is not None and len(values) == len(names)}
    return [{name: values[gpu] for name, values in columns.items()} for gpu in range(len(names))]


def query(name: str) -> list[str] | None:
    """Return one property of every GPU."""
    command = ["nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return [line.strip() for line in done.stdout.splitlines()]


def main() -> None:
    """Collect the facts, print the devices, and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = torch_facts()
    facts = {
        "environment": collect(),
        "torch": found,
        "nvidia_smi": driver_facts(),
        "distributions": dict(sorted((each.metadata["Name"], each.version) for each in distributions())),
    }
    arguments.out.write_text(json.dumps(facts, indent=2) + "\n")
    for device in found["devices"]:
        print(device)


if __name__ == "__main__":
    main()
