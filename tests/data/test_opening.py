"""Every format of recipes is opened by its own function, and a bad folder is refused."""

from __future__ import annotations

import pickle
from typing import get_args

import pytest

from segzoo.data.opening import LISTERS, open_source
from segzoo.errors import RecipeError
from segzoo.recipe.data import DataSection, ShapesData


def test_every_format_is_in_the_table() -> None:
    """A section that recipes accept can be opened."""
    assert set(LISTERS) == set(get_args(get_args(DataSection)[0]))


def test_sources_and_samples_can_be_pickled() -> None:
    """Workers may be started anew, so what they need crosses a pipe."""
    source = open_source(ShapesData(counts={"train": 3}), seed=0)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.splits == source.splits
    assert len(copy.classes) == 5


@pytest.mark.parametrize("channels", [1, 3])
def test_scenes_have_the_channels_of_the_model(channels: int) -> None:
    """Scenes are drawn in colour and can be had in grey."""
    source = open_source(ShapesData(counts={"train": 1}), seed=0, in_channels=channels)
    image, _ = source.read(source.splits["train"][0])
    assert image.shape == (96, 96, channels)
    assert image.std() > 0


def test_scenes_of_other_channels_are_refused() -> None:
    """A fourth band cannot be made up."""
    with pytest.raises(RecipeError, match=r"model\.in_channels 4: shapes are drawn in colour \(3\) or in grey \(1\)"):
        open_source(ShapesData(), seed=0, in_channels=4)
