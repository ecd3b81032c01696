"""The built-in models as data: one file per family, no torch."""

from __future__ import annotations

from segzoo.catalog import aspp, scratch, smp_specs, vgg
from segzoo.spec import ModelSpec

BUILTIN_SPECS: tuple[ModelSpec, ...] = (*scratch.SPECS, *vgg.SPECS, *aspp.SPECS, *smp_specs.SPECS)
"""Every model that segzoo ships."""
