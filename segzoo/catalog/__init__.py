"""The built-in models as data: one file per family, no torch."""

from __future__ import annotations

from segzoo.catalog import scratch, smp
from segzoo.spec import ModelSpec

BUILTIN_SPECS: tuple[ModelSpec, ...] = (*scratch.SPECS, *smp.SPECS)
"""Every model that segzoo ships."""
