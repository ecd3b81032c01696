"""Where rows were measured: what makes two of them comparable, and what merely was so at that moment.

This module needs no torch.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from segzoo.environment import git_state, machine, versions
from segzoo.files import sha256_bytes

FLAGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_LAUNCH_BLOCKING",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
    "NVIDIA_TF32_OVERRIDE",
)
"""Environment variables that change how fast a model is."""
TIMEOUT_S = 10

_FIXED = ("power.limit", "clocks.max.sm", "clocks.max.mem", "mig.mode.current")
_MOMENTARY = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")


def describe_environment(device: str) -> dict[str, JsonValue]:
    """Return versions, machine, limits of the GPUs and flags; under ``state``, what changes by itself.

    Args:
        device: The torch device, by name.
    """
    found = {
        "device": device,
        "versions": versions(),
        "machine": machine(),
        "limits": query_gpus(_FIXED),
        "flags": {name: os.environ[name] for name in FLAGS if name in os.environ},
        "state": {
            "git": git_state(Path()),
            "gpus": query_gpus(_MOMENTARY),
            "load_average": os.getloadavg()[0],
        },
    }
    return cast("dict[str, JsonValue]", found)


def environment_key(environment: Mapping[str, JsonValue]) -> str:
    """Return a short checksum that is equal where rows can be compared.

    The version of segzoo is left out: that it makes a difference is what a comparison is to find.
    """
    kept = {name: value for name, value in environment.items() if name != "state"}
    numbers = kept.get("versions")
    if isinstance(numbers, dict):
        kept["versions"] = {name: value for name, value in numbers.items() if name != "segzoo"}
    return sha256_bytes(json.dumps(kept, sort_keys=True).encode())[:16]


def query_gpus(fields: tuple[str, ...]) -> list[dict[str, str]]:
    """Return what nvidia-smi says of each GPU; nothing where it is missing, fails or takes too long."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(", ") for line in done.stdout.splitlines()]
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]
