"""CamVid as indices and as its own colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from numpy.typing import ArrayLike

from segzoo.data.classes import CAMVID
from segzoo.data.formats.camvid import COLORS
from segzoo.data.opening import open_source
from segzoo.errors import DataError, RecipeError
from segzoo.recipe.data import CamvidData, ClassEntry

WritePair = Callable[[Path, Path, ArrayLike], None]
SCENE = [[(128, 128, 128), (64, 192, 0), (0, 0, 0)], [(192, 0, 64), (0, 128, 192), (64, 128, 64)]]
LABELS = [[0, 1, 255], [3, 10, 9]]


def test_every_colour_has_one_class() -> None:
    """The data set's 32 colours are all there, each once; 31 of them go to the 11 classes."""
    colors = [color for group in COLORS.values() for color in group]
    assert len(colors) == len(set(colors)) == 32
    assert [name for name, _ in CAMVID] == [name for name in COLORS if name != "void"]
    assert all(color in COLORS[name] for name, color in CAMVID)


def test_original_folders(tmp_path: Path, write_pair: WritePair) -> None:
    """As the data set is distributed, colours are merged into the 11 classes, and its black is ignored."""
    for name in ("0001TP_1", "0001TP_2"):
        masks = tmp_path / "LabeledApproved_full"
        write_pair(tmp_path / f"701_StillsRaw_full/{name}.png", masks / f"{name}_L.png", SCENE)
    data = CamvidData(root=str(tmp_path), splits={"train": 0.5, "val": 0.5})
    source = open_source(data, seed=0)
    assert sorted(sample.name for samples in source.splits.values() for sample in samples) == ["0001TP_1", "0001TP_2"]
    assert source.read(source.splits["train"][0])[1].tolist() == LABELS
    assert len(source.classes) == 11
    with pytest.raises(DataError, match=r"no split 'train': 701_StillsRaw_full and .* give data\.splits as fractions"):
        open_source(CamvidData(root=str(tmp_path)), seed=0)


@pytest.mark.parametrize("end", ["", "_L"])
def test_colours_in_folders_of_splits(tmp_path: Path, write_pair: WritePair, end: str) -> None:
    """Colour masks are recognised in the layout of splits too, under both kinds of names."""
    for split in ("train", "val"):
        write_pair(tmp_path / split / "images/a.png", tmp_path / split / f"masks/a{end}.png", SCENE)
    source = open_source(CamvidData(root=str(tmp_path)), seed=0)
    assert source.read(source.splits["val"][0])[1].tolist() == LABELS


def test_unknown_colour_and_own_classes(tmp_path: Path, write_pair: WritePair) -> None:
    """A colour of no class is told; colours cannot be merged into classes that a recipe made up."""
    for split in ("train", "val"):
        write_pair(tmp_path / split / "images/a.png", tmp_path / split / "masks/a.png", [[(1, 2, 3)]])
    source = open_source(CamvidData(root=str(tmp_path)), seed=0)
    with pytest.raises(DataError, match=r"a\.png: the colour \(1, 2, 3\) belongs to no class"):
        source.read(source.splits["val"][0])
    with pytest.raises(RecipeError, match=r"data\.classes: CamVid's colour masks are merged"):
        open_source(CamvidData(root=str(tmp_path), classes=(ClassEntry(name="a"), ClassEntry(name="b"))), seed=0)
