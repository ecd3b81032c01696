"""The gate measures what it says, and lets nothing else through."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segzoo.data.source import Pixels, Sample
from segzoo.errors import SegzooError
from segzoo.export.form import Form
from segzoo.export.parity import compare_outputs, find_faults
from segzoo.export.parity_report import OutputComparison
from segzoo.export.validation import Validation
from segzoo.nn.pooling import max_pool, max_unpool


class Two:
    """Two images of 4x6 pixels, with masks of the same size: class 1 where the image is bright, one pixel ignored."""

    ignore_index = 255
    classes = ()
    settings = ""

    def __init__(self) -> None:
        self.splits = {"val": tuple(Sample(str(number), None, None, number) for number in range(2))}

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Return image and mask."""
        image = np.random.default_rng(sample.number).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        mask = (image[..., 0] > 127).astype(np.uint8)
        mask[0, 0] = 255
        return image, mask


def bright(image: Tensor) -> Tensor:
    """Score class 1 where the first channel is bright."""
    return torch.stack([torch.zeros_like(image[:, 0]), image[:, 0] - 0.5], dim=1)


class AsNumbers(nn.Module):
    """Bytes as numbers from 0 to 1."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the values."""
        return images.float() / 255


def run(
    exported: Any, *, exact: bool = True, size: tuple[int, int] = (4, 6), original: Any = bright
) -> OutputComparison:
    """Compare a function with the original."""
    validation = Validation(Two(), "val", 2)
    return compare_outputs(
        original, exported, validation, validation.samples, AsNumbers(), size=size, batch=2, exact=exact
    )


def test_equal_networks() -> None:
    """A network is no different from itself, and scores what it scores."""
    found = run(bright)
    assert found == OutputComparison(
        size=(4, 6),
        images=2,
        max_difference=0.0,
        undecided=0.0,
        decided_difference=0.0,
        changed=0.0,
        mean_iou=1.0,
        exported_mean_iou=1.0,
        miou_lost=0.0,
    )
    assert find_faults([found], Form(), max_miou_loss=0.01) == []


def test_changed_labels_are_counted() -> None:
    """A network that turns one column of each image round changes a sixth of the labels, and loses mean IoU."""

    def turned(image: Tensor) -> Tensor:
        logits = bright(image)
        logits[..., 0] = -logits[..., 0]
        return logits

    found = run(turned, exact=False)
    assert found.changed == pytest.approx(1 / 6)
    assert found.mean_iou == 1.0
    # 3 of 24 pixels in each image are scored and wrong in a column, one pixel of it being ignored: counted slowly.
    hits = np.zeros(2)
    union = np.zeros(2)
    for number in range(2):
        image, mask = Two().read(Sample("", None, None, number))
        labels = (image[..., 0] > 127).astype(int)
        labels[:, 0] = 1 - labels[:, 0]
        for label in range(2):
            valid = mask != 255
            hits[label] += ((labels == label) & (mask == label) & valid).sum()
            union[label] += (((labels == label) | (mask == label)) & valid).sum()
    expected = (hits / union).mean()
    assert found.exported_mean_iou == pytest.approx(expected)
    assert found.miou_lost == pytest.approx(1 - expected)
    (fault,) = find_faults([found], Form("onnx", "int8"), max_miou_loss=0.01)
    assert fault == f"at 4x6 pixels it loses {1 - expected:.4f} of mean IoU, more than --max-miou-loss 0.01"
    assert find_faults([found], Form("onnx", "int8"), max_miou_loss=1.0) == []


def test_an_unknown_loss_is_refused() -> None:
    """Where no pixel counts, a file in half precision cannot be judged; one in float32 is judged by its logits."""
    found = run(bright).model_copy(update={"mean_iou": None, "exported_mean_iou": None, "miou_lost": None})
    assert find_faults([found], Form(), max_miou_loss=0.01) == []
    (fault,) = find_faults([found], Form("onnx", "int8"), max_miou_loss=0.01)
    assert fault.startswith("at 4x6 pixels the loss of mean IoU is unknown: no pixel of the validation images has a")


@pytest.mark.parametrize(("offset", "passes"), [(0.0009, True), (0.0011, False)])
def test_tolerance_of_logits(offset: float, passes: bool) -> None:
    """Up to a thousandth passes, more does not, at whatever scale logits are."""
    found = run(lambda image: bright(image) + offset, original=lambda image: bright(image))
    assert found.max_difference == pytest.approx(offset, rel=1e-2)
    faults = find_faults([found], Form(), max_miou_loss=0.01)
    assert faults == ([] if passes else ["at 4x6 pixels logits differ by up to 0.0011, more than 0.001"])


def test_labels_are_compared_at_the_masks_resolution() -> None:
    """Images of another size are compared at that size, labels at the masks'."""
    found = run(bright, size=(8, 12))
    assert found.size == (8, 12)
    assert found.mean_iou is not None
    assert found.mean_iou < 1


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_logits_that_are_not_finite(precision: Any) -> None:
    """NaN never passes, in whatever precision."""
    found = run(lambda image: bright(image) * math.nan)
    assert found.max_difference is None
    assert find_faults([found], Form("onnx", precision), max_miou_loss=1.0) == ["at 4x6 pixels logits are not finite"]


def test_logits_of_another_shape() -> None:
    """A file that drops a class or a pixel is told by both shapes."""
    with pytest.raises(SegzooError, match=r"shape \(2, 1, 4, 6\) where the model gives \(2, 2, 4, 6\)"):
        run(lambda image: bright(image)[:, :1])


def unpooled(image: Tensor) -> Tensor:
    """Score by maxima put back where they were, in an image whose left half is even."""
    even = image[:, :2].clone()
    even[..., :2] += 1 - (255 * image[:, :2, :, :2]).round() / 255
    return max_unpool(*max_pool(even))


def test_ties_are_left_out() -> None:
    """Where the model itself is undecided, another choice of maxima is no fault; anywhere else it is."""

    def other_choice(image: Tensor) -> Tensor:
        logits = unpooled(image)
        logits[..., :2] = logits[..., :2].flip(-1)
        return logits

    found = run(other_choice, original=unpooled)
    assert found.max_difference is not None
    assert found.max_difference > 0.9
    assert found.decided_difference == 0
    assert 0.05 < found.undecided < 1 / 3

    def wrong_elsewhere(image: Tensor) -> Tensor:
        return other_choice(image) + torch.tensor([0.0] * 5 + [0.5])

    found = run(wrong_elsewhere, original=unpooled)
    (fault,) = find_faults([found], Form(), max_miou_loss=0.01)
    assert "logits differ by up to 0.5" in fault


def test_models_that_decide_too_little() -> None:
    """Where much of an image differs, rounding is no excuse."""
    found = run(bright).model_copy(update={"undecided": 0.3})
    (fault,) = find_faults([found], Form(), max_miou_loss=0.01)
    assert "on 30% of the pixels; rounding alone moves" in fault
