"""``segzoo show NAME --encoders``: what a model takes as its encoder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from segzoo.catalog import BUILTIN_SPECS
from segzoo.cli.show.encoders import chooses_encoder
from segzoo.errors import ParamsError
from segzoo.params import validate_params
from segzoo.plugins import get_spec

Run = Callable[..., Result]


def rows(run: Run, *words: str) -> list[dict[str, Any]]:
    """Return the rows of a command that printed JSON."""
    result = run("show", *words, "--encoders", "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["schema_version"] == 1
    found: list[dict[str, Any]] = content["rows"]
    return found


def test_families_of_smp_alone_choose_an_encoder() -> None:
    """A preset has decided on one, and so have all other models."""
    assert {spec.name for spec in BUILTIN_SPECS if chooses_encoder(spec)} == {
        spec.name for spec in BUILTIN_SPECS if spec.name.startswith("smp_")
    }


def test_rows_of_encoders(run: Run) -> None:
    """One of smp has several tags, one of timm has one, and variants behind a dot."""
    smp, timm = rows(run, "smp_unet", "resnet18"), rows(run, "smp_unet", "tu-resnet18")
    shape = {"strides": [8, 16, 32], "channels": [64, 64, 128, 256, 512]}
    assert smp == [{"name": "resnet18", **shape, "weights": ["imagenet", "ssl", "swsl"], "variants": []}]
    (row,) = timm
    assert (row["weights"], row["variants"][0]) == (["imagenet"], "a1_in1k")


def test_rows_of_vision_transformers(run: Run) -> None:
    """DPT has other encoders, and they another shape."""
    (row,) = rows(run, "smp_dpt", "tu-vit_base_patch16_224")
    assert (row["patch"], row["blocks"], row["class_token"], row["weights"]) == (16, 12, True, ["imagenet"])
    assert "augreg_in21k" in row["variants"]


@pytest.mark.parametrize("name", [spec.name for spec in BUILTIN_SPECS if chooses_encoder(spec)])
def test_what_is_listed_is_what_the_model_takes(run: Run, name: str) -> None:
    """With the default parameters, but for DPT's class token, which some encoders lack; tags and variants are real."""
    spec, listed = get_spec(name), {row["name"]: row for row in rows(run, name)}
    more = {"decoder_readout": "ignore"} if name == "smp_dpt" else {}
    for row in list(listed.values())[::25]:
        encoder = ".".join((row["name"], *row["variants"][-1:]))
        refined = spec.refined(validate_params(spec, {"encoder": encoder, **more}))
        assert list(refined.weights) == row["weights"]
    for encoder in {"vgg11", "densenet121", "mit_b0", "resnet18"} - listed.keys():
        with pytest.raises(ParamsError, match="encoder"):
            validate_params(spec, {"encoder": encoder})


def test_table(run: Run) -> None:
    """A person sees the same in one line for each, and on stderr how a variant is written."""
    result = run("show", "smp_unet", "--encoders", "tu-resnet10t")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["encoder", "strides", "channels", "weights", "variants"],
        ["tu-resnet10t", "8,", "16,", "32", "64,", "64,", "128,", "256,", "512", "imagenet", "c3_in1k"],
    ]
    assert result.stderr.endswith("behind a dot: encoder='tu-resnet10t.c3_in1k'\n")
    result = run("show", "smp_unet", "resnet34", "--encoders")
    assert result.stdout.splitlines()[1].split()[-2:] == ["imagenet", "-"]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segnet", "--encoders"], "segzoo/segnet has no encoder to choose; models that have: smp_deeplabv3, "),
        (["unet_resnet34", "--encoders"], "segzoo/unet_resnet34 has no encoder to choose"),
        (["smp_unet", "--encoders", "resnt34"], "no encoder of smp_unet matches 'resnt34'. Did you mean 'resnet34'"),
        (["smp_pan", "--encoders", "densenet121"], "no encoder of smp_pan matches 'densenet121'."),
        (["smp_unet", "resnet*"], "'resnet*' is left over: show takes one model, and a glob over encoders only"),
    ],
)
def test_misuse(refused: Callable[..., str], words: list[str], message: str) -> None:
    """A usage error is exit code 2 with the way out, and prints no table."""
    assert refused("show", *words).startswith(message)


def test_no_torch_is_needed() -> None:
    """The tables are read, no library is asked."""
    code = (
        "import sys\nfrom segzoo.cli import app\ntry:\n    app(['show', 'smp_unet', '--encoders'])\n"
        "except SystemExit as end:\n"
        "    print(end.code, {'torch', 'numpy', 'timm', 'segmentation_models_pytorch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 set()"
