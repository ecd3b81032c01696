"""What goes with a file is enough to use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from segzoo.export.form import Form
from segzoo.export.metadata import as_text, describe_export
from segzoo.inference.loading import load_model


def test_metadata_is_what_the_model_was_trained_with(leave_run: Callable[..., Path]) -> None:
    """Preprocessing, classes and palette are those of model.json, under the same names."""
    run = leave_run()
    known = json.loads((run / "model" / "model.json").read_text())
    description = load_model(run).description
    metadata = describe_export(description, Form("onnx", "int8"), (32, 48), open_dimensions=("batch",), min_size=32)
    for key in ("id", "classes", "palette", "mean", "std", "ignore_index", "num_classes", "in_channels", "metrics"):
        assert metadata[key] == known[key], key
    assert metadata["provenance"] == known["provenance"]
    assert (metadata["open_dimensions"], metadata["min_size"]) == (["batch"], 32)
    assert (metadata["image_size"], metadata["precision"]) == ((32, 48), "int8")


def test_text() -> None:
    """Text stays as it is, all else is JSON."""
    assert as_text({"id": "a/b", "mean": [0.5], "image_size": None, "name": "é"}) == {
        "id": "a/b",
        "mean": "[0.5]",
        "image_size": "null",
        "name": "é",
    }
