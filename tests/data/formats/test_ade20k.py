"""ADE20K: 150 labels and what is none of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from numpy.typing import ArrayLike

from segzoo.data.opening import open_source
from segzoo.errors import DataError, MissingDataError
from segzoo.recipe.data import Ade20kData


@pytest.mark.parametrize("place", ["ADEChallengeData2016", "."])
def test_labels_begin_at_one(tmp_path: Path, write_pair: Callable[[Path, Path, ArrayLike], None], place: str) -> None:
    """1 to 150 become 0 to 149, 0 is ignored, and what no mask should hold stays; the root may be the folder itself."""
    folder = tmp_path / place
    for split in ("training", "validation"):
        name = f"ADE_{split}_1"
        labels = [[0, 1, 150, 151]]
        write_pair(folder / f"images/{split}/{name}.jpg", folder / f"annotations/{split}/{name}.png", labels)
    source = open_source(Ade20kData(root=str(tmp_path)), seed=0)
    assert [len(samples) for samples in source.splits.values()] == [1, 1]
    assert source.read(source.splits["train"][0])[1].tolist() == [[255, 0, 149, 151]]
    with pytest.raises(DataError, match=r"no split 'valid': .* Did you mean 'validation'"):
        open_source(Ade20kData(root=str(tmp_path), splits={"train": "training", "val": "valid"}), seed=0)


def test_missing_data(tmp_path: Path) -> None:
    """The message has the archive and its address."""
    with pytest.raises(MissingDataError, match=r"no ADE20K in .*ADEChallengeData2016\.zip"):
        open_source(Ade20kData(root=str(tmp_path)), seed=0)
