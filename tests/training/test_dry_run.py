"""A dry run refuses what a run would, and writes and fetches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segzoo.errors import (
    DataError,
    DeviceError,
)
from segzoo.plugins import default_registry
from segzoo.recipe import Recipe, load_recipe, resolve_recipe
from segzoo.training.dry_run import check_run
from tests.made_runs import binary_folder

Small = Callable[..., Recipe]

# The run of the fixture alone has them.
pytestmark = pytest.mark.usefixtures("no_figures")


def test_dry_run_counts_parameters_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The model is built, absent data is warned of, no weights are touched and no file is written."""
    monkeypatch.chdir(tmp_path)
    recipe = resolve_recipe(load_recipe("voc_unet_resnet34"), default_registry())
    assert check_run(recipe) == 24_553_065
    assert "the data is not there yet: no PASCAL VOC 2012 in data/voc" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_dry_run_fetches_nothing_into_a_folder_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a failed download left behind does not make a dry run download."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "voc").mkdir(parents=True)
    check_run(resolve_recipe(load_recipe("voc_unet_resnet34"), default_registry()))
    assert "the data is not there yet" in caplog.text


def test_dry_run_refuses_data_that_is_there_and_faulty(small: Small, tmp_path: Path) -> None:
    """A mask without its image is a fault, not a folder that is still to come."""
    recipe = small(binary_folder(tmp_path / "data"))
    (tmp_path / "data/images/0.png").unlink()
    with pytest.raises(DataError, match=r"0\.png: no image in"):
        check_run(resolve_recipe(recipe, default_registry()))


def test_dry_run_checks_the_device(small: Small, tmp_path: Path) -> None:
    """A device that is not there is told without training."""
    with pytest.raises(DeviceError, match="'cuda:99' is not here"):
        check_run(resolve_recipe(small(), default_registry()), device="cuda:99")
