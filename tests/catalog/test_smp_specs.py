"""Every architecture of smp is a family, and every preset a family with one encoder."""

from __future__ import annotations

import pytest

from segzoo.catalog.smp import PRESET_ENCODERS, DPTParams
from segzoo.catalog.smp_specs import DPT, PYRAMIDS, SPECS
from segzoo.params import validate_params
from segzoo.spec import ModelSpec

NAMES = {spec.name for spec in SPECS}

by_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def test_there_are_twelve_families() -> None:
    """One for each architecture."""
    assert {name for name in NAMES if name.startswith("smp_")} == {
        "smp_unet",
        "smp_unetplusplus",
        "smp_manet",
        "smp_linknet",
        "smp_fpn",
        "smp_pspnet",
        "smp_deeplabv3",
        "smp_deeplabv3plus",
        "smp_pan",
        "smp_upernet",
        "smp_segformer",
        "smp_dpt",
    }


def test_there_are_thirty_six_presets() -> None:
    """Eleven architectures on three encoders, and the Unets with squeeze-and-excitation."""
    presets = {f"{architecture.name}_{encoder}" for architecture in PYRAMIDS for encoder in PRESET_ENCODERS}
    attended = {f"unet_{encoder}_se" for encoder in PRESET_ENCODERS}

    assert {name for name in NAMES if not name.startswith("smp_")} == presets | attended
    assert len(presets | attended) == 36


@by_spec
def test_spec_is_what_its_parameters_make_of_it(spec: ModelSpec) -> None:
    """Weights and input are those of the encoder, so that lists say what a recipe will get."""
    assert spec.refined(validate_params(spec, {})) == spec
    assert spec.default_weights == "imagenet"


@by_spec
def test_spec_is_valid_and_documented(spec: ModelSpec) -> None:
    """What was put together without validation passes it; sources and tags are there."""
    assert ModelSpec.model_validate(dict(spec)) == spec
    assert spec.papers
    assert spec.tags
    assert all(paper.startswith(("arXiv:", "doi:")) for paper in spec.papers)


def test_dpt_is_listed_without_the_table_of_timm() -> None:
    """Its default weights are written out; they are those that the table has."""
    spec = next(spec for spec in SPECS if spec.name == f"smp_{DPT.name}")
    assert DPTParams().refine(spec) == spec


def test_attention_is_fixed_and_tagged() -> None:
    """A preset with squeeze-and-excitation is found by its tag, and names the paper."""
    spec = next(spec for spec in SPECS if spec.name == "unet_resnet18_se")

    assert spec.fixed == {"encoder": "resnet18", "attention": "se"}
    assert "attention" in spec.tags
    assert spec.papers == ("arXiv:1505.04597", "arXiv:1512.03385", "arXiv:1709.01507")
    assert spec.summary == "U-Net decoder on a resnet18 encoder with squeeze-and-excitation"
