"""Build ``docs/models.md`` from the registry: every built-in with its sources and what it costs.

``python tests/models_page.py`` writes it; ``tests/test_models_page.py`` compares the committed page with what this file
builds.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segzoo.build import build_from_spec
from segzoo.catalog import BUILTIN_SPECS
from segzoo.params import validate_params
from segzoo.registry import BUILTIN
from segzoo.spec import ModelSpec

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
NUM_CLASSES = 21
SIDE = 512

HEAD = f"""\
# Models

Every model that segzoo ships, with its default parameters. This page is generated from the registry by `make generate`;
`segzoo show NAME` tells all that is known of one model, and `segzoo list` also knows the models of installed plugins.

- **Parameters**: trainable parameters for {NUM_CLASSES} classes and 3 image channels.
- **GMACs**: multiply-accumulates of one {SIDE}x{SIDE} image in evaluation mode (1 MAC = 2 FLOPs; convolutions and
  matrix products), counted by `torch.utils.flop_counter` on the meta device.
- **Smallest**: the smallest height and width in pixels; every size from there on gives logits of the same size.
- **Weights**: tags of pretrained weights for the default parameters; the one in bold is used where a recipe names none.

"""

COLUMNS = ("model", "paper", "parameters", "GMACs", "smallest", "weights", "license")


def row(spec: ModelSpec) -> str:
    """Return one model's line of the table."""
    params = validate_params(spec, {})
    refined = spec.refined(params)
    parameters, gmacs = count(build_on_meta(refined))
    cells = (
        f"`{BUILTIN}/{spec.name}`",
        ", ".join(link(paper) for paper in spec.papers),
        f"{parameters:,}",
        f"{gmacs:.3f}",
        str(refined.input.min_size),
        ", ".join(f"**{tag}**" if tag == refined.default_weights else tag for tag in refined.weights),
        spec.license,
    )
    return f"| {' | '.join(cells)} |"


def build_on_meta(spec: ModelSpec) -> nn.Module:
    """Return the model without memory for its tensors; what cannot be built there is built on the CPU and moved."""
    params = validate_params(spec, {})
    try:
        with torch.device("meta"):
            model = build_from_spec(spec, params, in_channels=3, num_classes=NUM_CLASSES)
    except (NotImplementedError, RuntimeError):
        model = build_from_spec(spec, params, in_channels=3, num_classes=NUM_CLASSES)
    return model.to("meta").eval()


def count(model: nn.Module) -> tuple[int, float]:
    """Return the trainable parameters and the GMACs of one image."""
    torch.backends.mha.set_fastpath_enabled(False)  # the fast path hides its products from the counter
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, SIDE, SIDE, device="meta"))
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return parameters, counter.get_total_flops() / 2e9


def link(paper: str) -> str:
    """Return a source as a link where it is an arXiv number."""
    number = paper.removeprefix("arXiv:")
    return f"[{paper}](https://arxiv.org/abs/{number})" if number != paper else paper


def page(rows: Iterable[str]) -> str:
    """Return the whole page."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|--:|--:|--:|---|---|", *rows]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    lines = []
    for built_in in BUILTIN_SPECS:
        lines.append(row(built_in))
        gc.collect()
    PAGE.write_text(page(lines), encoding="utf-8")
