"""What is written can be read by others: indices, colours, numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segzoo.errors import UnknownName
from segzoo.inference.outputs import (
    Coco,
    Targets,
    read_extras,
    write_contours,
    write_mask,
    write_mask_in_parts,
    write_overlay,
    write_probabilities,
)

PALETTE = [(0, 0, 0), (200, 100, 50), (1, 2, 3)]


def labels(*size: int) -> np.ndarray:
    """Return random labels."""
    return np.random.default_rng(0).integers(0, 3, size, dtype=np.uint8)


def test_a_mask_is_an_indexed_png(tmp_path: Path) -> None:
    """Its values are labels, its palette the classes' colours; folders are made."""
    path = tmp_path / "deep" / "mask.png"
    write_mask(path, labels(5, 7), PALETTE)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.array(picture), labels(5, 7))
        assert np.array_equal(np.array(picture.convert("RGB")), np.array(PALETTE)[labels(5, 7)])


def test_an_overlay_is_half_image_half_colour(tmp_path: Path) -> None:
    """Each pixel is the mean of both; of many channels the first three are shown."""
    image = np.full((4, 6, 5), 100, np.uint8)
    write_overlay(tmp_path / "o.png", image, np.ones((4, 6), np.uint8), PALETTE)
    with Image.open(tmp_path / "o.png") as picture:
        assert (np.array(picture) == (150, 100, 75)).all()


def test_probabilities_and_names(tmp_path: Path) -> None:
    """The archive holds the array as it is and the classes, and no pickle."""
    values = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    write_probabilities(tmp_path / "p.npz", values, ("a", "b", "ü"))
    with np.load(tmp_path / "p.npz", allow_pickle=False) as found:
        assert np.array_equal(found["probabilities"], values)
        assert found["classes"].tolist() == ["a", "b", "ü"]


def test_contours_and_annotations(tmp_path: Path) -> None:
    """Both are JSON; images and annotations of COCO are numbered from 1 on."""
    write_contours(tmp_path / "c.geojson", labels(4, 4), ("a", "b", "c"))
    assert json.loads((tmp_path / "c.geojson").read_text())["type"] == "FeatureCollection"
    coco = Coco(("a", "b", "c"))
    for name in ("x.png", "y.png"):
        coco.add(name, labels(4, 4))
    coco.write(tmp_path / "coco.json")
    found = json.loads((tmp_path / "coco.json").read_text())
    assert found["images"][1] == {"id": 2, "file_name": "y.png", "height": 4, "width": 4}
    assert [each["id"] for each in found["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert found["categories"][2] == {"id": 2, "name": "c"}


@pytest.mark.parametrize("size", [(1, 1), (256, 256), (300, 700), (513, 255)])
def test_parts_make_a_mask(tmp_path: Path, size: tuple[int, int]) -> None:
    """Whatever the parts, the tiles of the TIFF are the mask, with the classes' colours."""
    whole = labels(*size)
    blocks = [
        (top, left, whole[top : top + 97, left : left + 140])
        for top in range(0, size[0], 97)
        for left in range(0, size[1], 140)
    ]
    write_mask_in_parts(tmp_path / "m.tif", iter(blocks), size, PALETTE)
    assert np.array_equal(tifffile.imread(tmp_path / "m.tif"), whole)
    with Image.open(tmp_path / "m.tif") as picture:
        assert np.array_equal(np.array(picture.convert("RGB")), np.array(PALETTE)[whole])
    with tifffile.TiffFile(tmp_path / "m.tif") as tiff:
        assert tiff.pages.first.is_tiled


def test_a_mask_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Where the parts end in an error there is no file, neither whole nor partial."""

    def blocks() -> object:
        yield 0, 0, labels(10, 20)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_mask_in_parts(tmp_path / "m.tif", blocks(), (40, 20), PALETTE)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_names_of_files() -> None:
    """The mask lies in the folder itself, all else in folders of its kind; dots in names stay."""
    targets = Targets(Path("out"), Path("sub/v1.5"), ("overlay", "geojson", "probabilities"), in_parts=False)
    assert [str(path) for path in targets.all] == [
        "out/sub/v1.5.png",
        "out/overlays/sub/v1.5.png",
        "out/probabilities/sub/v1.5.npz",
        "out/contours/sub/v1.5.geojson",
    ]
    assert Targets(Path("out"), Path("a"), (), in_parts=True).all == [Path("out/a.tif")]


def test_names_of_extras() -> None:
    """A list has names in any order; a misspelt one is told."""
    assert read_extras("coco, overlay") == ("overlay", "coco")
    with pytest.raises(UnknownName, match=r"no output named 'overlays'\. Did you mean 'overlay'"):
        read_extras("overlays")
