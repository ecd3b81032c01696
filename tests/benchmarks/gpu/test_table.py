"""The plan is whole: every command exists, no part is long, and the zoo is measured once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from gpu.part import ROOT, Part, Setup
from gpu.table import PARTS, RECIPES, lacks_camvid

from segzoo.bench.selection import choose_models


def option(words: tuple[str, ...], name: str) -> str:
    """Return the value of an option of a command."""
    return words[words.index(name) + 1]


def test_parts_are_short_and_named_once() -> None:
    """No part takes more than ten minutes, nor needs more than it may take."""
    names = [part.name for part in PARTS]
    assert len(set(names)) == len(names)
    assert all(part.least < part.minutes <= 10 for part in PARTS)


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_commands_exist(tmp_path: Path, part: Part, tiny: bool) -> None:
    """Every command runs this Python on a script of the repository, or on segzoo."""
    commands = part.commands(Setup(tmp_path, tiny=tiny, camvid=tmp_path), part.name)
    assert commands
    for words in commands:
        assert words[0] == sys.executable
        assert words[1:3] == ("-m", "segzoo") or Path(words[1]).is_file()
        assert str(tmp_path) in " ".join(words)


@pytest.mark.parametrize("part", [part for part in PARTS if part.name not in ("environment",)], ids=lambda p: p.name)
def test_tiny_shrinks_each_part(tmp_path: Path, part: Part) -> None:
    """What a tiny plan runs is not what the whole one runs."""
    whole, tiny = (part.commands(Setup(tmp_path, tiny=tiny, camvid=tmp_path), part.name) for tiny in (False, True))
    assert whole != tiny


def test_the_zoo_is_measured_once(tmp_path: Path) -> None:
    """The chunks together hold every model, and none twice."""
    sweeps = [part.commands(Setup(tmp_path), part.name)[0] for part in PARTS if part.name.startswith("zoo_")]
    models = [model for words in sweeps for model in option(words, "--models").split(",")]
    assert sorted(models) == sorted(choose_models(["*"]))


def test_recipes_are_there() -> None:
    """The recipes of CamVid are shipped, and start from no pretrained weights, which need a network."""
    for name in RECIPES:
        assert '"weights": null' in (ROOT / "recipes" / f"{name}.json").read_text()


def test_without_camvid_its_recipes_are_skipped(tmp_path: Path) -> None:
    """The reason names the option, or the folder that is none."""
    assert lacks_camvid(Setup(tmp_path)) == "no data: --camvid FOLDER names the folder of CamVid"
    assert lacks_camvid(Setup(tmp_path, camvid=tmp_path / "none")) == f"no data: --camvid {tmp_path}/none is no folder"
    assert lacks_camvid(Setup(tmp_path, camvid=tmp_path)) is None
