"""Pairs of files are read as the source says, and what the source says is part of what caches know it by."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segzoo.data.findings import FileFault
from segzoo.data.formats.files import PairSource
from segzoo.data.source import Sample
from segzoo.errors import DataError
from segzoo.recipe.data import ClassEntry

CLASSES = (ClassEntry(name="ground", color=(0, 0, 0)), ClassEntry(name="tree", color=(0, 128, 0)))
LABELS = np.array([[0, 1, 7], [1, 7, 0]], np.uint8)


def sample(folder: Path, bands: int = 3) -> Sample:
    """Write an image of some bands, each with its number as its value, and a mask, and return both as a sample."""
    pixels = np.broadcast_to(np.arange(bands, dtype=np.uint8), (2, 3, bands))
    tifffile.imwrite(folder / "image.tif", pixels, photometric="minisblack", planarconfig="contig")
    Image.fromarray(LABELS).save(folder / "mask.png")
    return Sample("a", folder / "image.tif", folder / "mask.png", 0)


def source(**changes: object) -> PairSource:
    """Return a source without samples."""
    return replace(PairSource(CLASSES, 255, {}), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [3, 4, 5])
def test_images_have_the_channels_of_the_source(tmp_path: Path, channels: int) -> None:
    """Bands arrive in their order, the mask as uint8."""
    image, mask = source(in_channels=channels).read(sample(tmp_path, channels))
    assert image.shape == (2, 3, channels)
    assert image[0, 0].tolist() == list(range(channels))
    np.testing.assert_array_equal(mask, LABELS)
    with pytest.raises(FileFault, match=rf"image\.tif: it has {channels} bands where model\.in_channels is 6"):
        source(in_channels=6).read(sample(tmp_path, channels))


def test_ignored_labels_are_replaced(tmp_path: Path) -> None:
    """They become the label that is neither trained nor scored."""
    _, mask = source(ignore_labels=(7,), ignore_index=100).read(sample(tmp_path))
    assert mask.tolist() == [[0, 1, 100], [1, 100, 0]]


def test_settings_tell_sources_apart() -> None:
    """Whatever changes what is read changes the settings, colours only where they are looked up."""
    changed = [
        source(),
        source(in_channels=1),
        source(ignore_labels=(7,)),
        source(ignore_index=9),
        source(mask_mode="rgb"),
        source(mask_mode="rgb", classes=(*CLASSES, ClassEntry(name="car", color=(1, 2, 3)))),
    ]
    assert len({each.settings for each in changed}) == len(changed)
    assert source(classes=CLASSES[:1]).settings == source().settings


def test_scenes_are_not_read() -> None:
    """A sample without files is of other data."""
    with pytest.raises(DataError, match="scene: not a sample of this data"):
        source().read(Sample("scene", None, None, 3))


def test_it_travels_to_workers() -> None:
    """A source can be pickled."""
    before = source(in_channels=4)
    assert pickle.loads(pickle.dumps(before)) == before
