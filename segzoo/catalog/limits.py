"""Limits that several models share, with their reasons."""

from __future__ import annotations

FIXED_SIZE = dict.fromkeys(("height", "width"), "adaptive pooling is exported for the size it was traced with")
"""For ``fixed_export_dims`` of networks that average over a grid of cells."""
