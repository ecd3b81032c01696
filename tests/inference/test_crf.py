"""The conditional random field moves labels to the edges of the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segzoo.inference.crf import Kernels, refine
from segzoo.metrics import boundary_f1


def scene() -> tuple[Tensor, Tensor]:
    """Return the image of a disk and a bar, with noise, and its labels."""
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    labels = torch.zeros(96, 128, dtype=torch.long)
    labels[(rows - 40) ** 2 + (columns - 40) ** 2 < 24**2] = 1
    labels[20:80, 90:110] = 2
    colours = torch.tensor([[60.0, 80, 70], [180, 90, 60], [90, 160, 200]])
    image = colours[labels].permute(2, 0, 1)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return (image + 4 * noise).clamp(0, 255).to(torch.uint8), labels


def blurred(labels: Tensor) -> Tensor:
    """Return probabilities as of a network at output stride 16: blurred and unsure."""
    one_hot = F.one_hot(labels, 3).permute(2, 0, 1).float()[None]
    coarse = F.avg_pool2d(one_hot, 16)
    smooth = F.interpolate(coarse, size=labels.shape, mode="bilinear", align_corners=False)[0]
    return (0.8 * smooth + 0.2 / 3).clamp_min(1e-3)


def score(labels: Tensor, target: Tensor) -> float:
    """Return the mean boundary F1."""
    return float(boundary_f1(labels, target, num_classes=3, ignore_index=255).nanmean())


def test_outlines_get_sharper() -> None:
    """The boundary F1 of a blurred prediction rises by far, and no image is needed but the one it is of."""
    image, labels = scene()
    probabilities = blurred(labels)
    before = score(probabilities.argmax(0), labels)
    after = score(refine(probabilities, image).argmax(0), labels)
    blank = score(refine(probabilities, torch.zeros_like(image)).argmax(0), labels)
    assert after > before + 0.15
    assert after > blank + 0.1


def slow(probabilities: np.ndarray, image: np.ndarray, kernels: Kernels) -> np.ndarray:
    """Return one step of the mean field, pixel by pixel."""
    count, height, width = probabilities.shape
    found = np.zeros_like(probabilities)
    for y in range(height):
        for x in range(width):
            sums = [np.zeros(count), np.zeros(count)]
            norms = [0.0, 0.0]
            for v in range(max(y - kernels.radius, 0), min(y + kernels.radius + 1, height)):
                for u in range(max(x - kernels.radius, 0), min(x + kernels.radius + 1, width)):
                    if (v, u) == (y, x):
                        continue
                    square = (v - y) ** 2 + (u - x) ** 2
                    contrast = ((image[:, y, x] - image[:, v, u]) ** 2).sum()
                    near = np.exp(-square / (2 * kernels.smoothness_pixels**2))
                    alike = np.exp(
                        -square / (2 * kernels.appearance_pixels**2) - contrast / (2 * kernels.appearance_levels**2)
                    )
                    for place, weight in enumerate((near, alike)):
                        sums[place] += weight * probabilities[:, v, u]
                        norms[place] += weight
            energy = np.log(probabilities[:, y, x])
            energy += kernels.smoothness * sums[0] / norms[0] + kernels.appearance * sums[1] / norms[1]
            found[:, y, x] = np.exp(energy) / np.exp(energy).sum()
    return found


@pytest.mark.parametrize("size", [(7, 9), (1, 5), (2, 12)])
def test_against_a_loop_over_pixels(size: tuple[int, int]) -> None:
    """A step is the sum over pairs of pixels that the paper writes down, at the borders too."""
    torch.manual_seed(0)
    probabilities = torch.rand(3, *size).softmax(0)
    image = 20 * torch.rand(3, *size)
    kernels = Kernels(radius=3)
    found = refine(probabilities, image, kernels=kernels, iterations=1)
    expected = slow(probabilities.double().numpy(), image.double().numpy(), kernels)
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_channels_weigh_alike() -> None:
    """A grey image is refined as the same one in RGB."""
    image, labels = scene()
    grey = image[:1, :40, :40]
    probabilities = blurred(labels)[:, :40, :40]
    assert torch.allclose(refine(probabilities, grey), refine(probabilities, grey.expand(3, -1, -1)), atol=1e-4)


def test_probabilities_stay_probabilities() -> None:
    """They add up to 1, and a class that is certain nowhere gives no NaN."""
    image, _ = scene()
    certain = torch.zeros(2, 96, 128)
    certain[0] = 1
    found = refine(certain, image)
    assert torch.allclose(found.sum(0), torch.ones(96, 128), atol=1e-5)


def test_bad_values_are_refused() -> None:
    """Sizes that differ and no iterations at all are told with the value."""
    with pytest.raises(ValueError, match=r"got \(2, 4, 4\) and \(3, 4, 5\)"):
        refine(torch.rand(2, 4, 4), torch.rand(3, 4, 5))
    with pytest.raises(ValueError, match="got 0"):
        refine(torch.rand(2, 4, 4), torch.rand(3, 4, 4), iterations=0)
