"""What goes with an exported file, so that nothing else is needed to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from segzoo.export.form import Form
from segzoo.inference.description import ModelDescription

KEPT = ("id", "revision", "in_channels", "num_classes", "classes", "palette", "ignore_index", "mean", "std")
"""What ``model.json`` says too, under the same names."""

PREPROCESSING = "resize to image_size, divide bytes by 255, subtract mean, divide by std, channel by channel"


def describe_export(description: ModelDescription, form: Form, size: tuple[int, int] | None) -> dict[str, Any]:
    """Return preprocessing, classes and palette of an exported file as JSON.

    Args:
        description: The model.
        form: What the file is.
        size: Height and width that images are brought to; None leaves each its own.
    """
    known = description.model_dump(mode="json")
    return {
        "schema_version": 1,
        **{key: known[key] for key in KEPT},
        "image_size": size,
        "format": form.format,
        "precision": form.precision,
        "input": "image: float32 (batch, channels, height, width), three channels being RGB",
        "preprocessing": PREPROCESSING,
        "output": "logits: float32 (batch, classes, height, width); the largest of a pixel is its label",
        "weights_sha256": description.provenance.weights_sha256,
    }


def as_text(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return each value as text: what is text stays as it is, all else is JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }
