"""``segzoo show NAME --counts``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from segzoo.analysis.count import CONVENTION

Run = Callable[..., Result]

DECIDES = """
from torch import nn


class Lite(nn.Module):
    def __init__(self, in_channels, num_classes, width):
        super().__init__()
        self.encoder = nn.Conv2d(in_channels, width, 1, bias=False)
        self.head = nn.Conv2d(width, num_classes, 1, bias=False)

    def forward(self, image):
        print("a plugin prints")
        features = self.encoder(image)
        return self.head(features * 2 if features.sum().item() > 0 else features)


def build(params, *, in_channels, num_classes):
    return Lite(in_channels, num_classes, params.width)
"""


def test_table(run: Run) -> None:
    """The convention, the input and the classes come first, then the totals, then the modules."""
    result = run("show", "fast_scnn", "--counts", "--size", "64x96")
    assert result.exit_code == 0, result.stderr
    head, totals, modules = result.stdout.split("\n\n")
    assert head == f"segzoo/fast_scnn: {CONVENTION}; input 1x3x64x96, 21 classes"
    told = dict(line.rsplit(maxsplit=1) for line in totals.splitlines()[1:-1])
    parts = [told[f"parameters of {part}"] for part in ("encoder", "decoder", "head")]
    assert sum(int(part.replace(",", "")) for part in parts) == 1_138_309
    assert told["parameters"] == told["trainable parameters"] == "1,138,309"
    assert told["parameters only read in training"] == "0"
    assert totals.splitlines()[-1].startswith("not counted in GMACs")
    assert "relu_ 29x" in totals
    names = [line.split()[0] for line in modules.splitlines()]
    assert names[:3] == ["module", "encoder", "encoder.learning_to_downsample"]
    assert "head.2" not in names  # a dropout costs nothing


def test_json(run: Run) -> None:
    """One row has all counts, the shape that they hold for, and every module."""
    result = run("show", "unet_resnet34", "--counts", "--json")
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)["rows"]
    assert (row["id"], row["convention"]) == ("segzoo/unet_resnet34", CONVENTION)
    assert (row["input"], row["num_classes"]) == ([1, 3, 512, 512], 21)
    assert (row["parameters"], f"{row['macs'] / 1e9:.3f}") == (24_439_269, "32.011")
    assert sum(row["parts"].values()) == row["parameters"]
    whole, first = row["modules"][:2]
    assert (whole["name"], whole["macs"]) == ("", row["macs"])
    assert set(first) == {"name", "kind", "parameters", "macs", "activations", "bytes_moved"}


def test_plugin_that_needs_values(run: Run, offer: Callable[..., Path]) -> None:
    """A model that asks for a value runs on the CPU, and what it prints does not get between the JSON."""
    offer("acme-seg", "lite", before=DECIDES, builder="acme_seg:build")
    result = run("show", "acme-seg/lite", "--counts", "--size", "40x56", "--json")
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)["rows"]
    assert (row["id"], row["macs"]) == ("acme-seg/lite", (3 + 21) * 8 * 40 * 56)


def test_plugin_that_fails(refused: Callable[..., str], offer: Callable[..., Path]) -> None:
    """Its fault is told as its own, by both commands that run it."""
    code = DECIDES.replace("features.sum()", "features.total()").replace('print("a plugin prints")', "")
    offer("acme-seg", "lite", before=code, builder="acme_seg:build")
    for option in ("--counts", "--receptive-field"):
        message = refused("show", "acme-seg/lite", option, code=3)
        assert message.endswith(
            "the plugin acme-seg/lite fails: AttributeError: 'Tensor' object has no attribute 'total'"
        )


@pytest.mark.parametrize("size", ["512", "0x4", "4x", "-1x4", "999999x4"])
def test_sizes_that_are_none(refused: Callable[..., str], size: str) -> None:
    """Two numbers from 1 to five digits are a size, and nothing else."""
    message = refused("show", "unet", "--counts", "--size", size)
    assert message == f"--size must be HxW in pixels, such as 512x512, got '{size}'"


def test_refusals(refused: Callable[..., str]) -> None:
    """A size of nothing, two views at once, an image that is too small, and a name that is none end in one message."""
    assert refused("show", "unet", "--size", "64x64").endswith("add --counts")
    assert refused("show", "unet", "--counts", "--receptive-field") == (
        "--receptive-field and --counts show different things: give one of them"
    )
    assert "of at least 32x32 pixels, got 16x64" in refused("show", "fast_scnn", "--counts", "--size", "16x64")
    assert refused("show", "segnt", "--counts").startswith("no model named 'segnt'. Did you mean 'segnet'")
