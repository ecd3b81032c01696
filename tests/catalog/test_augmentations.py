"""The committed table of transforms is what the installed albumentations offers."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from segzoo.recipe.augment import augmentation_table


def load_tables() -> ModuleType:
    """Import ``tests/tables.py``, which is a script and not part of a package."""
    spec = importlib.util.spec_from_file_location("tables", Path(__file__).parents[1] / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = load_tables()
TRANSFORMS = tables.concrete_transforms()

# Values for arguments that a transform cannot do without, or whose default is larger than the test's image.
VALUES: dict[str, dict[str, Any]] = {
    "CenterCrop": {"height": 32, "width": 32},
    "Crop": {"x_max": 32, "y_max": 32},
    "CropAndPad": {"px": [4, 4, 4, 4]},
    "CropNonEmptyMaskIfExists": {"height": 32, "width": 32},
    "GridElasticDeform": {"num_grid_xy": [3, 3], "magnitude": 3},
    "LongestMaxSize": {"max_size": 32},
    "PadIfNeeded": {"min_height": 80, "min_width": 80},
    "RandomCrop": {"height": 32, "width": 32},
    "RandomResizedCrop": {"size": [32, 32]},
    "RandomSizedCrop": {"min_max_height": [16, 32], "size": [32, 32]},
    "Resize": {"height": 32, "width": 32},
    "SmallestMaxSize": {"max_size": 32},
}


def test_committed_table_is_current() -> None:
    """``python tests/tables.py`` would change nothing."""
    assert tables.AUGMENTATIONS.read_text(encoding="utf-8") == tables.as_text(tables.augmentations())


def test_every_transform_is_listed_or_refused() -> None:
    """Nothing that albumentations exports is missing, and no reason is kept for what it no longer has."""
    table = augmentation_table()
    assert set(TRANSFORMS) == set(table.transforms) | set(table.refused)
    assert not set(table.transforms) & set(table.refused)


def test_masks_are_resampled_to_the_nearest_by_default() -> None:
    """No recipe can set ``mask_interpolation``, so its default must never blend two labels into a third."""
    for name in augmentation_table().transforms:
        parameter = inspect.signature(TRANSFORMS[name]).parameters.get("mask_interpolation")
        assert parameter is None or parameter.default == 0, name


@pytest.mark.parametrize("name", sorted(set(augmentation_table().transforms) - {"OneOf", "SomeOf", "Sequential"}))
def test_transform_keeps_image_and_mask_valid(name: str) -> None:
    """From JSON values, the image stays RGB bytes, and the mask as large as it with labels it had or the fill."""
    arguments = dict(VALUES.get(name, {}), p=1.0)
    if "fill_mask" in augmentation_table().transforms[name].arguments:
        arguments["fill_mask"] = 255
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This augmenter is very slow")
        compose = tables.A.Compose([TRANSFORMS[name](**arguments)], strict=True)
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    mask = np.full((64, 48), 3, np.uint8)
    mask[16:40, 16:40] = 7
    for seed in range(3):
        compose.set_random_seed(seed)
        result = compose(image=image, mask=mask)
        assert result["image"].dtype == np.uint8
        assert result["image"].shape == (*result["mask"].shape, 3)
        assert set(np.unique(result["mask"]).tolist()) <= {3, 7, 255}
