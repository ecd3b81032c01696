"""What goes with an exported file, so that nothing else is needed to use it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from segzoo.export.form import Form
from segzoo.inference.description import ModelDescription

PREPROCESSING = (
    "resize to image_size (OpenCV's INTER_AREA where it shrinks, INTER_LINEAR where it grows), divide bytes by 255, "
    "subtract mean, divide by std, channel by channel"
)


def describe_export(
    description: ModelDescription,
    form: Form,
    size: tuple[int, int] | None,
    *,
    open_dimensions: Collection[str],
    min_size: int,
) -> dict[str, Any]:
    """Return all that ``model.json`` says, and what an exported file takes and gives, as JSON.

    Args:
        description: The model.
        form: What the file is.
        size: Height and width that images are brought to; None leaves each its own.
        open_dimensions: The dimensions that are left open, of ``batch``, ``height`` and ``width``.
        min_size: Smallest height and width that the network takes.
    """
    return {
        **description.model_dump(mode="json"),
        "image_size": size,
        "format": form.format,
        "precision": form.precision,
        "input": "image: float32 (batch, channels, height, width), three channels being RGB",
        "preprocessing": PREPROCESSING,
        "output": "logits: float32 (batch, classes, height, width); the largest of a pixel is its label",
        "open_dimensions": list(open_dimensions),
        "min_size": min_size,
    }


def as_text(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return each value as text: what is text stays as it is, all else is JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }
