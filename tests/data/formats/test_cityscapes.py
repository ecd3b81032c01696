"""Cityscapes: cities, ids and labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from numpy.typing import ArrayLike

from segzoo.data.opening import list_source, open_source
from segzoo.errors import DataError, MissingDataError
from segzoo.recipe.data import CityscapesData

WritePair = Callable[[Path, Path, ArrayLike], None]
SCENES = {"train": ["aachen/aachen_000000_000019", "bonn/bonn_000001_000019"], "val": ["ulm/ulm_000000_000019"]}


def write(root: Path, write_pair: WritePair, kind: str, labels: ArrayLike) -> None:
    """Write scenes with masks of one kind."""
    for split, scenes in SCENES.items():
        for scene in scenes:
            image = root / "leftImg8bit" / split / f"{scene}_leftImg8bit.png"
            write_pair(image, root / "gtFine" / split / f"{scene}_gtFine_{kind}.png", labels)


def test_ids_become_labels(tmp_path: Path, write_pair: WritePair) -> None:
    """Road is 0, bicycle 18; what is not scored, such as caravans, is ignored; an id that there is none of stays.

    Other files of the data set are none.
    """
    write(tmp_path, write_pair, "color", [[7]])
    write(tmp_path, write_pair, "labelIds", [[7, 33, 0, 29], [26, 17, 34, 11]])
    source = open_source(CityscapesData(root=str(tmp_path)), seed=0)
    assert [sample.name for sample in source.splits["train"]] == SCENES["train"]
    _, mask = source.read(source.splits["val"][0])
    assert mask.tolist() == [[0, 18, 255, 255], [13, 5, 34, 2]]


def test_labels_stay(tmp_path: Path, write_pair: WritePair) -> None:
    """Masks of training labels are read as they are, and their void follows the recipe."""
    write(tmp_path, write_pair, "labelTrainIds", [[0, 18, 255]])
    source = open_source(CityscapesData(root=str(tmp_path), ignore_index=100), seed=0)
    assert source.read(source.splits["val"][0])[1].tolist() == [[0, 18, 100]]


def test_missing_partners_and_splits(tmp_path: Path, write_pair: WritePair) -> None:
    """A scene without annotation is told, a split without folder as well."""
    write(tmp_path, write_pair, "labelIds", [[7]])
    (tmp_path / "gtFine/train/bonn/bonn_000001_000019_gtFine_labelIds.png").unlink()
    source, findings = list_source(CityscapesData(root=str(tmp_path)), seed=0)
    assert len(source.splits["train"]) == 1
    assert [finding.kind for finding in findings] == ["missing_mask"]
    with pytest.raises(DataError, match=r"no split 'vla'; found: train, val. Did you mean 'val'"):
        open_source(CityscapesData(root=str(tmp_path), splits={"train": "train", "val": "vla"}), seed=0)
    with pytest.raises(MissingDataError, match=r"after registration, from https://www\.cityscapes-dataset\.com"):
        open_source(CityscapesData(root=str(tmp_path / "none")), seed=0)
