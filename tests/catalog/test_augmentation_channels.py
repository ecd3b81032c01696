"""What the table of channels and the rules of ``fill`` say is what the installed albumentations does."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segzoo.recipe.augment import FILLS_ANY_CHANNELS, FILLS_FIRST_CHANNEL, augmentation_table


def load_script() -> ModuleType:
    """Import ``tests/augmentation_channels.py``, which is a script and not part of a package."""
    spec = importlib.util.spec_from_file_location("channels", Path(__file__).parents[1] / "augmentation_channels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_script()

# After the script, which keeps albumentations from asking the package index.
from albumentations.augmentations.geometric.distortion import BaseDistortion  # noqa: E402

# What makes a transform uncover or hide a part of the image whatever it draws.
UNCOVERING: dict[str, dict[str, Any]] = {
    "Affine": {"rotate": [40, 41]},
    "CenterCrop": {"height": 80, "width": 80, "pad_if_needed": True},
    "CoarseDropout": {},
    "Crop": {"x_max": 80, "y_max": 80, "pad_if_needed": True},
    "ElasticTransform": {"alpha": 300},
    "Erasing": {},
    "GridDistortion": {"distort_limit": [0.8, 0.9], "normalized": False},
    "GridDropout": {},
    "Pad": {"padding": 4},
    "PadIfNeeded": {"min_height": 80, "min_width": 80},
    "Perspective": {"scale": [0.2, 0.3], "fit_output": True},
    "RandomCrop": {"height": 80, "width": 80, "pad_if_needed": True},
    "Rotate": {"limit": [40, 41]},
    "SafeRotate": {"limit": [40, 41]},
    "ThinPlateSpline": {},
    "XYMasking": {"num_masks_x": 2, "mask_x_length": 9},
}
LISTS = set(UNCOVERING) - FILLS_ANY_CHANNELS
GREY, FILL = 100, 200


def filled(name: str, channels: int, fill: object) -> list[NDArray[Any]]:
    """Return grey images that a transform has filled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transform = getattr(script.A, name)(**UNCOVERING[name], fill=fill, p=1.0)
        compose = script.A.Compose([transform], strict=True)
    image, mask = np.full((64, 48, channels), GREY, np.uint8), np.zeros((64, 48), np.uint8)
    results = []
    for seed in range(4):
        compose.set_random_seed(seed)
        results.append(compose(image=image, mask=mask)["image"])
    assert any(result.max() > 150 for result in results), "nothing was filled"
    return results


def alike(images: list[NDArray[Any]]) -> bool:
    """Say whether all channels of all images are equal."""
    return all(np.array_equal(image, np.repeat(image[..., :1], image.shape[2], axis=2)) for image in images)


@pytest.mark.slow
def test_committed_table_is_current() -> None:
    """``python tests/augmentation_channels.py`` would change nothing."""
    assert script.PATH.read_text(encoding="utf-8") == script.as_text(script.channel_table())


def test_every_transform_suits_rgb() -> None:
    """Nothing that a recipe may name is useless for colour images."""
    table = augmentation_table()
    assert set(table.channels) <= set(table.transforms)
    assert all(3 in counts for counts in table.channels.values())


@pytest.mark.parametrize("name", sorted(UNCOVERING))
@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_a_number_fills_every_channel(name: str, channels: int) -> None:
    """One number is for all channels, but for those transforms that are known to fill the first alone."""
    first_alone = name in FILLS_FIRST_CHANNEL and channels > 1
    assert alike(filled(name, channels, FILL)) == (not first_alone)


@pytest.mark.parametrize("name", sorted(UNCOVERING))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_list_fills_up_to_four_channels(name: str, channels: int) -> None:
    """A list with a value for each channel is right for all transforms."""
    assert alike(filled(name, channels, [FILL] * channels))


@pytest.mark.parametrize("name", sorted(UNCOVERING))
def test_a_list_for_more_channels(name: str) -> None:
    """Beyond four channels OpenCV refuses lists, and only what is filled without it takes them."""
    if name in LISTS:
        with pytest.raises(cv2.error):
            filled(name, 5, [FILL] * 5)
    else:
        assert alike(filled(name, 5, [FILL] * 5))


def test_all_fills_are_known() -> None:
    """What can be filled is tried here, or its fill means something else."""
    table = augmentation_table()
    fillable = {name for name, transform in table.transforms.items() if "fill" in transform.arguments}
    # A dropped channel is filled as a whole, a padding is drawn from a range, and these two show no borders by chance.
    untried = {"ChannelDropout", "CropAndPad", "OpticalDistortion", "PiecewiseAffine"}
    assert fillable == set(UNCOVERING) | untried
    warping = {name for name in fillable if issubclass(getattr(script.A, name), BaseDistortion)}
    assert warping | {"Perspective"} == FILLS_FIRST_CHANNEL
