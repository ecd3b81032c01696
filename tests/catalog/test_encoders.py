"""The committed tables of encoders are what the installed smp and timm offer."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from segzoo.catalog import encoders
from segzoo.catalog.encoders import (
    encoder_input,
    encoder_weights,
    every_encoder,
    every_vision_transformer,
    find_encoder,
    find_vision_transformer,
    names_of_encoders,
    pretrained,
    weight_variants,
)


def load_tables() -> ModuleType:
    """Import ``tests/tables.py``, which is a script and not part of a package."""
    spec = importlib.util.spec_from_file_location("tables", Path(__file__).parents[1] / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = load_tables()
SMP = json.loads(tables.ENCODERS.read_text(encoding="utf-8"))
TIMM = json.loads(tables.TIMM_ENCODERS.read_text(encoding="utf-8"))
USABLE = [*TIMM["encoders"], *TIMM["transformers"]]


def test_table_of_smp_has_every_encoder_and_its_weights() -> None:
    """Names, tags, repositories and revisions are the installed library's."""
    names = tables.smp.encoders.get_encoder_names()

    assert list(SMP["encoders"]) == names
    assert SMP["weights"] == {name: tables.smp_weights(name) for name in names}


def test_table_of_timm_has_every_model_and_its_weights() -> None:
    """Each model is an encoder, a vision transformer, or refused with a reason; its tags are timm's."""
    refused = [name for names in TIMM["refused"].values() for name in names]

    assert sorted([*USABLE, *refused]) == sorted(f"tu-{name}" for name in tables.timm.list_models())
    assert {name: tables.timm_weights(name.removeprefix("tu-")) for name in USABLE} == TIMM["weights"]


def test_tables_are_written_as_the_script_writes_them() -> None:
    """``python tests/tables.py`` leaves their layout as it is, so that a change shows as the lines it concerns."""
    assert tables.ENCODERS.read_text(encoding="utf-8") == tables.as_text(SMP)
    assert tables.TIMM_ENCODERS.read_text(encoding="utf-8") == tables.as_text(TIMM)
    assert tables.TIMM_ENCODERS.stat().st_size < 300_000


def test_normalisations_are_the_scripts() -> None:
    """Both tables hold the same, rounded nowhere."""
    expected = {name: [list(mean), list(std)] for name, (mean, std) in tables.NORMALISATIONS.items()}
    assert SMP["normalisations"] == TIMM["normalisations"] == expected


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("mobilenet_v2", "vgg11", "mit_b0", "efficientnet-b0")
        ),
    ],
)
def test_facts_of_an_encoder_of_smp(name: str) -> None:
    """What the table says is what the network does."""
    assert tables.encoder_facts(name) == SMP["encoders"][name]


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "test_vit", "vgg11", "coatnet_0_rw_224"])
def test_facts_of_a_model_of_timm(name: str) -> None:
    """What the table says is what the network does."""
    section, entry = tables.timm_facts(name)
    assert (entry in TIMM[section]) if section == "refused" else (entry == TIMM[section][f"tu-{name}"])


@pytest.mark.slow
def test_facts_of_every_encoder_of_smp() -> None:
    """``python tests/tables.py`` would change nothing."""
    assert tables.smp_encoders()["encoders"] == SMP["encoders"]


@pytest.mark.slow
def test_facts_of_every_twentieth_model_of_timm() -> None:
    """A sample; the script itself goes through all of them."""
    for name in tables.timm.list_models()[::20]:
        section, entry = tables.timm_facts(name)
        found = TIMM[section].get(entry if section == "refused" else f"tu-{name}")
        assert (f"tu-{name}" in found) if section == "refused" else (found == entry), name


def test_encoder_of_smp_is_found_without_the_table_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The large table is read for ``tu-`` names only."""
    read: list[str] = []
    table = encoders._table
    monkeypatch.setattr(encoders, "_table", lambda file: read.append(file) or table(file))

    find_encoder("resnet18")
    assert read == ["encoders.json"]
    find_encoder("tu-resnet18")
    assert read[-1] == "timm_encoders.json"


def test_what_is_known_of_an_encoder() -> None:
    """Numbers of a network that everyone knows, and of one that begins at a quarter of the size."""
    assert find_encoder("resnet34") == ("resnet34", [8, 16, 32], [64, 64, 128, 256, 512], False, True, True, True)
    assert find_encoder("tu-convnext_tiny.fb_in1k").name == "tu-convnext_tiny"
    assert find_encoder("tu-convnext_tiny").channels == [0, 96, 192, 384, 768]
    assert find_encoder("vgg16").strides == [32]
    assert not find_encoder("efficientnet-b0").whole
    assert not find_encoder("tu-hrnet_w18").cuts
    assert find_encoder("tu-swin_tiny_patch4_window7_224").dynamic
    assert not find_encoder("tu-swin_tiny_patch4_window7_224").any_size
    assert find_vision_transformer("tu-vit_base_patch16_224") == ("tu-vit_base_patch16_224", 16, 12, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet43", r"no encoder named 'resnet43'\. Did you mean .*'resnet34'"),
        ("convnext_tiny", r"no encoder named 'convnext_tiny'\. Did you mean .*'tu-convnext_tiny'"),
        ("timm-regnetx_002", r"no encoder named 'timm-regnetx_002'\. Did you mean .*'tu-regnetx_002'"),
        ("", r"no encoder named ''\."),
        (
            "tu-resnet18.a9_in1k",
            r"'tu-resnet18' has no weights 'a9_in1k'\. Did you mean .*'a1_in1k'.* It has a1_in1k, ",
        ),
        ("resnet18.imagenet", r"'resnet18' takes no tag behind a dot; .* weights='imagenet'"),
        ("tu-coatnet_0_rw_224", "cannot be an encoder: it does not take images of every size"),
        ("tu-vit_base_patch16_224", "its feature maps all have the same size; smp_dpt takes it"),
    ],
)
def test_name_that_is_no_encoder(name: str, message: str) -> None:
    """A typo gets suggestions, a model that cannot be used a reason."""
    with pytest.raises(ValueError, match=message):
        find_encoder(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tu-resnet18", "smp_dpt needs a plain vision transformer"),
        ("tu-vit_bse_patch16_224", "Did you mean .*'tu-vit_base_patch16_224'"),
        ("tu-coatnet_0_rw_224", "cannot be an encoder"),
    ],
)
def test_name_that_is_no_vision_transformer(name: str, message: str) -> None:
    """The same for DPT."""
    with pytest.raises(ValueError, match=message):
        find_vision_transformer(name)


def test_encoders_that_meet_a_condition() -> None:
    """The best known are named, all are counted."""
    every = names_of_encoders(lambda encoder: True)

    assert re.fullmatch(r"resnet18, resnet34, (\w+, ){4}\.\.\. \(\d+ in all\)", every)
    assert f"({len(SMP['encoders']) + len(TIMM['encoders'])} in all)" in every


def test_every_encoder_is_known() -> None:
    """Both tables, smp's first, as they are found by name; transformers apart."""
    names = [encoder.name for encoder in every_encoder()]
    assert names == [*SMP["encoders"], *TIMM["encoders"]]
    assert every_encoder()[names.index("tu-convnext_tiny")] == find_encoder("tu-convnext_tiny")
    assert [each.name for each in every_vision_transformer()] == list(TIMM["transformers"])
    assert find_vision_transformer("tu-vit_base_patch16_224") in every_vision_transformer()


def test_variants_of_weights() -> None:
    """Names of timm's models may have one behind a dot, the default first; others take none."""
    assert weight_variants("tu-resnet18") == list(TIMM["weights"]["tu-resnet18"])
    assert weight_variants("tu-resnet18.tv_in1k")[0] == "a1_in1k"
    assert weight_variants("resnet18") == []
    for variant in weight_variants("tu-resnet18"):
        find_encoder(f"tu-resnet18.{variant}")


def test_weights_of_smp_are_pinned() -> None:
    """A commit of a repository on the hub, in the encoder's own layout; ImageNet's first."""
    weights = encoder_weights("resnet18")

    assert list(weights) == ["imagenet", "ssl", "swsl"]
    assert weights["imagenet"].hub == "smp-hub/resnet18.imagenet"
    assert weights["imagenet"].revision == "3f2325ff978283d47aa6a1d6878ca20565622683"
    assert (weights["imagenet"].part, weights["imagenet"].layout) == ("encoder", "own")
    assert weights["ssl"].license == "CC-BY-NC-4.0"


def test_encoder_without_imagenet_has_another_default() -> None:
    """The first of its tags."""
    assert pretrained("resnext101_32x32d", min_size=32)["default_weights"] == "instagram"
    assert pretrained("dpn92", min_size=32)["default_weights"] == "imagenet+5k"


def test_weights_of_another_normalisation_are_left_out() -> None:
    """A model has one input; images normalised for ImageNet's weights would spoil these."""
    assert SMP["weights"]["efficientnet-b0"]["advprop"]["images"] != "imagenet"
    assert list(encoder_weights("efficientnet-b0")) == ["imagenet"]
    assert list(encoder_weights("timm-efficientnet-b0")) == ["imagenet", "noisy-student"]


@pytest.mark.parametrize(
    ("name", "hub", "mean"),
    [
        ("tu-resnet18", "timm/resnet18.a1_in1k", (0.485, 0.456, 0.406)),
        ("tu-resnet18.tv_in1k", "timm/resnet18.tv_in1k", (0.485, 0.456, 0.406)),
        ("tu-vit_base_patch16_224.augreg_in21k", "timm/vit_base_patch16_224.augreg_in21k", (0.5, 0.5, 0.5)),
        ("tu-vit_base_patch16_224.mae", "timm/vit_base_patch16_224.mae", (0.485, 0.456, 0.406)),
    ],
)
def test_weights_of_timm(name: str, hub: str, mean: tuple[float, ...]) -> None:
    """``imagenet`` is what the name has behind its dot, or timm's default, with its normalisation."""
    weights = encoder_weights(name)

    assert list(weights) == ["imagenet"]
    assert weights["imagenet"].hub == hub
    assert (weights["imagenet"].revision, weights["imagenet"].layout) == ("main", "timm")
    assert encoder_input(name, min_size=64).mean == mean
    assert encoder_input(name, min_size=64).min_size == 64


def test_model_of_timm_without_weights() -> None:
    """It can still be trained from scratch."""
    name = next(name for name in TIMM["encoders"] if not TIMM["weights"][name])
    assert pretrained(name, min_size=32)["weights"] == {}
    assert pretrained(name, min_size=32)["default_weights"] is None
