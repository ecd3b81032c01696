"""What disturbs a measurement: a busy machine, other processes on a GPU, a GPU that slows down for its heat.

This module needs no torch.
"""

from __future__ import annotations

import logging
import os
import subprocess

from segzoo.bench.environment import TIMEOUT_S, query_gpus
from segzoo.environment import machine

logger = logging.getLogger(__name__)

SLOWED = (
    "clocks_event_reasons_counters.sw_thermal_slowdown",
    "clocks_event_reasons_counters.hw_thermal_slowdown",
    "clocks_event_reasons_counters.hw_power_brake",
)
"""nvidia-smi's counters of how long a GPU was slowed down; the power limit is left out, as work alone reaches it."""


class Conditions:
    """Warns of what disturbs a sweep, of each kind of disturbance once.

    Args:
        device: The torch device, by name.
    """

    def __init__(self, device: str) -> None:
        self._gpu = device.startswith("cuda")
        self._slowed = self._slowdowns()
        self._told: set[str] = set()

    def before(self, *, first: bool) -> None:
        """Look at the machine while no measurement runs.

        Args:
            first: Whether the sweep has not yet added load of its own.
        """
        cores, load = machine()["cpus"], os.getloadavg()[0]
        if first and load > cores / 2:
            self._warn("load", f"the load average is {load:.1f} on {cores} cores: times will be too long")
        if self._gpu and (others := other_processes()):
            self._warn("others", f"other processes use the GPUs ({others}): times will be too long")

    def after(self, model: str) -> None:
        """Look at what happened while a model was measured."""
        slowed = self._slowdowns()
        if slowed != self._slowed:
            self._warn("slowed", f"a GPU was slowed down for heat or power while {model} was measured")
        self._slowed = slowed

    def _slowdowns(self) -> list[dict[str, str]]:
        return query_gpus(SLOWED) if self._gpu else []

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self._told:
            logger.warning("%s", message)
        self._told.add(kind)


def other_processes() -> int:
    """Return how many processes compute on NVIDIA GPUs; 0 where the driver does not tell."""
    command = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.strip().isdecimal() for line in done.stdout.splitlines())
