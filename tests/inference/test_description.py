"""A model is found in its folder, and what is said of it there is checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from segzoo.errors import UsageFault
from segzoo.inference.description import ModelDescription, find_model, run_of


def test_what_is_no_model_is_told(tmp_path: Path, run_folder: Path) -> None:
    """A missing folder, an empty one, a file and a run without weights are told apart, each with the way out."""
    with pytest.raises(UsageFault, match="nowhere does not exist; give a run directory"):
        find_model(tmp_path / "nowhere")
    with pytest.raises(UsageFault, match=r"it is no trained model: .*model.json is missing"):
        find_model(tmp_path)
    with pytest.raises(UsageFault, match=r"run.json is not a folder"):
        find_model(run_folder / "run.json")
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "model").mkdir()
    with pytest.raises(UsageFault, match="the run has no weights yet"):
        find_model(tmp_path)


def test_the_run_of_a_model(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model folder knows the run that it is in, also from inside; another folder is in none."""
    assert run_of(find_model(run_folder)) == run_folder
    assert run_of(tmp_path / "model") is None
    monkeypatch.chdir(run_folder / "model")
    assert run_of(find_model(".")) == run_folder


def test_what_was_not_foreseen_is_kept_or_passed_over(describe: Callable[..., ModelDescription]) -> None:
    """Provenance may hold anything beside the checksum, and a later file may say more."""
    found = describe(provenance={"weights_sha256": "0" * 64, "torch": "2.11"}, invented_later=1)
    assert found.provenance.model_dump()["torch"] == "2.11"
    with pytest.raises(ValidationError, match="weights_sha256"):
        describe(provenance={})


def test_the_window_comes_from_the_passport(describe: Callable[..., ModelDescription]) -> None:
    """A model without scores, or scored on whole images, has none."""
    assert describe().window is None
    assert describe(metrics={"passport": {"window": None}}).window is None
    assert describe(metrics={"passport": {"window": [64, 96]}}).window == (64, 96)
