"""Names, patterns and folders become models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segzoo.bench.selection import choose_models
from segzoo.errors import MissingDistribution, UsageFault
from segzoo.plugins import default_registry


def test_patterns_become_ids_each_once() -> None:
    """Globs, bare names, aliases' owners and ids may overlap; the order is that of the patterns."""
    assert choose_models(["segnet_pets*", "segzoo/segnet_pets", "fast_scnn"]) == [
        "segzoo/segnet_pets",
        "segzoo/segnet_pets_separable",
        "segzoo/fast_scnn",
    ]


def test_everything_is_the_whole_zoo() -> None:
    """A star is every model of the registry."""
    assert choose_models(["*"]) == [entry.id for entry in default_registry()]


def test_third_parties_models_are_models(offer: Callable[..., Path]) -> None:
    """A plugin's model is chosen by its id, by a glob over ids, and by its name unless a built-in has it."""
    offer("acme-seg", "unet_lite")
    offer("beta-seg", "segnet")
    assert choose_models(["acme-seg/*"]) == choose_models(["unet_lite"]) == ["acme-seg/unet_lite"]
    assert choose_models(["segnet"]) == ["segzoo/segnet"]
    assert choose_models(["beta-seg/segnet"]) == ["beta-seg/segnet"]


def test_runs_are_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run directory is chosen as it was named, so are its model folder and runs that a glob matches."""
    monkeypatch.chdir(tmp_path)
    Path("runs/x/model").mkdir(parents=True)
    Path("runs/x/model/model.json").write_text("{}")
    assert choose_models(["runs/x", "runs/x/model"]) == ["runs/x", "runs/x/model"]
    Path("runs/y/model").mkdir(parents=True)
    Path("runs/y/model/model.json").write_text("{}")
    assert choose_models(["runs/*", "./runs/[y-z]"]) == ["runs/x", "runs/y", "./runs/y"]
    with pytest.raises(UsageFault, match=r"the folder runs holds no trained model: a run has model/model\.json"):
        choose_models(["runs"])


def test_what_is_not_there_is_told() -> None:
    """A typo gets a suggestion, a missing distribution the way to install it."""
    with pytest.raises(UsageFault, match=r"no model named 'segnt'\. Did you mean 'segnet'"):
        choose_models(["segnt"])
    with pytest.raises(MissingDistribution, match="pip install not-there"):
        choose_models(["not-there/*"])
    with pytest.raises(UsageFault, match="no models are named"):
        choose_models([])
