"""Every loss agrees with a slow version in numpy, adds up over parts of a batch, and survives unlabelled batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from segzoo.losses import (
    BoundaryCrossEntropy,
    CrossEntropy,
    Dice,
    DistanceFocal,
    Focal,
    Jaccard,
    Loss,
    Lovasz,
    Ohem,
    Tversky,
    WeightedSum,
)

IGNORED = 255
WEIGHTS = (0.5, 2.0, 0.0, 1.5)
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Slow = Callable[[Floats, Labels], float]


def slow_softmax(logits: Floats) -> Floats:
    """Return probabilities over axis 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def slow_cross_entropy(
    logits: Floats, target: Labels, *, weights: Sequence[float] | None = None, smoothing: float = 0.0
) -> float:
    """Return the cross-entropy, one pixel after the other."""
    classes = logits.shape[1]
    weight = [1.0] * classes if weights is None else list(weights)
    logs = np.log(slow_softmax(logits))
    likelihood = total = 0.0
    for image, row, column in np.ndindex(target.shape):
        label = target[image, row, column]
        if label == IGNORED:
            continue
        for index in range(classes):
            share = (1 - smoothing) * (index == label) + smoothing / classes
            likelihood -= share * weight[index] * logs[image, index, row, column]
        total += weight[label]
    return likelihood / total


def pixels(logits: Floats, target: Labels) -> list[tuple[tuple[int, ...], float]]:
    """Return place and probability of its label of each pixel that counts."""
    chances = slow_softmax(logits)
    places = [place for place in np.ndindex(target.shape) if target[place] != IGNORED]
    return [(place, chances[place[0], target[place], place[1], place[2]]) for place in places]


def slow_focal(logits: Floats, target: Labels, *, gamma: float, alpha: float) -> float:
    """Return the focal loss, one pixel after the other."""
    return float(np.mean([-alpha * (1 - p) ** gamma * np.log(p) for _, p in pixels(logits, target)]))


def slow_ohem(logits: Floats, target: Labels, *, threshold: float, min_kept: int) -> float:
    """Return the mean cross-entropy of each image's hardest pixels, sorted by hand."""
    losses: list[float] = []
    for image in range(len(target)):
        chances = sorted(p for place, p in pixels(logits, target) if place[0] == image)
        hard = max(sum(p < threshold for p in chances), min_kept)
        losses.extend(-np.log(chances[:hard]))
    return float(np.mean(losses))


def slow_boundary(logits: Floats, target: Labels, *, boost: float, width: int) -> float:
    """Return the weighted cross-entropy, searching the neighbours of one pixel after the other."""
    total = weights = 0.0
    for (image, row, column), chance in pixels(logits, target):
        rows, columns = slice(max(row - width, 0), row + width + 1), slice(max(column - width, 0), column + width + 1)
        around = target[image, rows, columns]
        near = ((around != target[image, row, column]) & (around != IGNORED)).any()
        weight = 1 + boost * near
        total -= weight * np.log(chance)
        weights += weight
    return total / weights


def slow_overlap(logits: Floats, target: Labels, *, alpha: float, beta: float) -> float:
    """Return one minus the mean Tversky index, one class after the other; 0.5 and 0.5 is Dice, 1 and 1 is Jaccard."""
    probabilities = slow_softmax(logits)
    losses = []
    for label in range(logits.shape[1]):
        true = target == label
        if true.any():
            hits = probabilities[:, label][true].sum()
            false = probabilities[:, label][(target != IGNORED) & ~true].sum()
            losses.append(1 - hits / (hits + alpha * false + beta * (true.sum() - hits)))
    return float(np.mean(losses))


def slow_lovasz(logits: Floats, target: Labels) -> float:
    """Return the Lovász extension by its definition: errors in falling order, each with what it adds to the loss."""
    chances, images = slow_softmax(logits), []
    for image, labels in enumerate(target):
        counts = labels != IGNORED
        if not counts.any():
            continue
        classes = []
        for label in np.unique(labels[counts]):
            truth = labels[counts] == label
            errors = np.abs(truth - chances[image, label][counts])
            loss, before, wrong = 0.0, 0.0, np.zeros(len(truth), bool)
            for place in np.argsort(-errors, kind="stable"):
                wrong[place] = True
                now = 1 - (truth & ~wrong).sum() / (truth | wrong).sum()
                loss, before = loss + errors[place] * (now - before), now
            classes.append(loss)
        images.append(np.mean(classes))
    return float(np.mean(images))


def slow_distance_focal(logits: Floats, target: Labels, *, alpha: float, beta: float, sigma: float) -> float:
    """Return the loss by its formula, with the distance to every pixel of a class."""
    chances, cost = slow_softmax(logits), 0.0
    places = [place for place, _ in pixels(logits, target)]
    for image, row, column in places:
        for label in range(logits.shape[1]):
            chance = chances[image, label, row, column]
            if target[image, row, column] == label:
                cost -= (1 - chance) ** alpha * np.log(chance)
                continue
            rows, columns = np.nonzero(target[image] == label)
            squared = ((rows - row) ** 2 + (columns - column) ** 2).min(initial=10**9)
            penalty = (1 - np.exp(-squared / (2 * sigma**2))) ** beta
            cost -= penalty * chance**alpha * np.log(1 - chance)
    return cost / len(places)


def slow_sum(logits: Floats, target: Labels) -> float:
    """Return a sum of two losses."""
    return 0.25 * slow_cross_entropy(logits, target) + 3 * slow_overlap(logits, target, alpha=0.5, beta=0.5)


def weighed(loss: Loss) -> Callable[[], WeightedSum]:
    """Return what builds a sum of one loss."""
    return lambda: WeightedSum([(1.0, copy.deepcopy(loss))])


CASES: dict[str, tuple[Callable[[], WeightedSum], Slow]] = {
    "cross_entropy": (weighed(CrossEntropy(ignore_index=IGNORED)), slow_cross_entropy),
    "weighted": (
        weighed(CrossEntropy(ignore_index=IGNORED, class_weights=WEIGHTS)),
        lambda logits, target: slow_cross_entropy(logits, target, weights=WEIGHTS),
    ),
    "smoothed": (
        weighed(CrossEntropy(ignore_index=IGNORED, label_smoothing=0.2)),
        lambda logits, target: slow_cross_entropy(logits, target, smoothing=0.2),
    ),
    "weighted and smoothed": (
        weighed(CrossEntropy(ignore_index=IGNORED, class_weights=WEIGHTS, label_smoothing=0.2)),
        lambda logits, target: slow_cross_entropy(logits, target, weights=WEIGHTS, smoothing=0.2),
    ),
    "focal": (
        weighed(Focal(ignore_index=IGNORED, gamma=2.0)),
        lambda logits, target: slow_focal(logits, target, gamma=2.0, alpha=1.0),
    ),
    "focal, less steep": (
        weighed(Focal(ignore_index=IGNORED, gamma=0.5, alpha=0.25)),
        lambda logits, target: slow_focal(logits, target, gamma=0.5, alpha=0.25),
    ),
    "ohem": (
        weighed(Ohem(ignore_index=IGNORED, threshold=0.3, min_kept=2)),
        lambda logits, target: slow_ohem(logits, target, threshold=0.3, min_kept=2),
    ),
    "ohem, few": (
        weighed(Ohem(ignore_index=IGNORED, threshold=0.001, min_kept=10)),
        lambda logits, target: slow_ohem(logits, target, threshold=0.001, min_kept=10),
    ),
    "boundary_cross_entropy": (
        weighed(BoundaryCrossEntropy(ignore_index=IGNORED, boost=4.0, width=1)),
        lambda logits, target: slow_boundary(logits, target, boost=4.0, width=1),
    ),
    "dice": (
        weighed(Dice(ignore_index=IGNORED)),
        lambda logits, target: slow_overlap(logits, target, alpha=0.5, beta=0.5),
    ),
    "jaccard": (
        weighed(Jaccard(ignore_index=IGNORED)),
        lambda logits, target: slow_overlap(logits, target, alpha=1.0, beta=1.0),
    ),
    "tversky": (
        weighed(Tversky(ignore_index=IGNORED, alpha=0.3, beta=0.7)),
        lambda logits, target: slow_overlap(logits, target, alpha=0.3, beta=0.7),
    ),
    "lovasz": (weighed(Lovasz(ignore_index=IGNORED)), slow_lovasz),
    "distance_focal": (
        weighed(DistanceFocal(ignore_index=IGNORED, alpha=2.0, beta=4.0, sigma=1.5)),
        lambda logits, target: slow_distance_focal(logits, target, alpha=2.0, beta=4.0, sigma=1.5),
    ),
    "distance_focal, less steep": (
        weighed(DistanceFocal(ignore_index=IGNORED, alpha=0.5, beta=1.0, sigma=3.0)),
        lambda logits, target: slow_distance_focal(logits, target, alpha=0.5, beta=1.0, sigma=3.0),
    ),
    "sum": (
        lambda: WeightedSum([(0.25, CrossEntropy(ignore_index=IGNORED)), (3.0, Dice(ignore_index=IGNORED))]),
        slow_sum,
    ),
}
each_loss = pytest.mark.parametrize(("build", "slow"), CASES.values(), ids=CASES)


def batch(*, images: int = 2, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Return float64 logits, and labels in patches, many ignored in the first image and few in the last."""
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(images, classes, 6, 8, generator=generator, dtype=torch.float64)
    patches = torch.randint(classes, (images, 3, 4), generator=generator)
    target = patches.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    target[0, :4] = IGNORED
    target[-1, 2, 3] = IGNORED
    return logits, target


def gradient_of(loss: WeightedSum, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and its gradient."""
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@each_loss
def test_value_agrees_with_numpy(build: Callable[[], WeightedSum], slow: Slow) -> None:
    """Weights, smoothing and ignored pixels enter as the slow version has them, in float64 and in float32."""
    logits, target = batch()

    expected = slow(logits.numpy(), target.numpy())

    assert build().double()(logits, target).item() == pytest.approx(expected, rel=1e-12)
    assert build()(logits.float(), target).item() == pytest.approx(expected, rel=1e-5)


@each_loss
def test_gradient_agrees_with_numpy(build: Callable[[], WeightedSum], slow: Slow) -> None:
    """The gradient is the slope of the slow version, at ignored pixels exactly 0."""
    logits, target = batch()
    _, gradient = gradient_of(build().double(), logits, target)

    for index in [(0, 1, 4, 2), (0, 3, 5, 6), (1, 0, 0, 0), (1, 2, 3, 4), (1, 3, 4, 6)]:
        step = np.zeros(logits.shape)
        step[index] = 1e-6
        rise = slow(logits.numpy() + step, target.numpy()) - slow(logits.numpy() - step, target.numpy())
        assert gradient[index].item() == pytest.approx(rise / 2e-6, rel=1e-4, abs=1e-9)
    assert (gradient.movedim(1, -1)[target == IGNORED] == 0).all()
    assert (gradient != 0).any()


@each_loss
def test_all_ignored_is_exactly_zero(build: Callable[[], WeightedSum], slow: Slow) -> None:
    """A batch without a label has the loss 0 and the gradient 0, neither NaN nor nearly 0."""
    logits, target = batch()

    value, gradient = gradient_of(build(), logits.float(), torch.full_like(target, IGNORED))

    assert value.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@each_loss
def test_halves_add_up_to_the_whole(build: Callable[[], WeightedSum], slow: Slow) -> None:
    """Sums of two parts of unlike size with unlike numbers of ignored pixels give the whole's value and gradient."""
    loss = build().double()
    logits, target = batch(images=3)
    whole, gradient = gradient_of(loss, logits, target)

    leaf = logits.clone().requires_grad_()
    parts = [loss.sums(leaf[:1], target[:1]), loss.sums(leaf[1:], target[1:])]
    value = loss.value([first + second for first, second in zip(*parts, strict=True)])

    assert value.item() == pytest.approx(whole.item(), rel=1e-12)
    torch.testing.assert_close(torch.autograd.grad(value, leaf)[0], gradient, rtol=1e-12, atol=1e-15)
    means = (loss(logits[:1], target[:1]) + loss(logits[1:], target[1:])) / 2
    assert means.item() != pytest.approx(whole.item(), rel=1e-3), "the halves are too alike to tell sums from means"


@each_loss
def test_a_half_without_labels_changes_nothing(build: Callable[[], WeightedSum], slow: Slow) -> None:
    """The sums of a part that is all ignored add nothing to those of the other."""
    loss = build().double()
    logits, target = batch()
    target[0] = IGNORED

    parts = [loss.sums(logits[:1], target[:1]), loss.sums(logits[1:], target[1:])]

    value = loss.value([first + second for first, second in zip(*parts, strict=True)])
    assert value.item() == pytest.approx(slow(logits[1:].numpy(), target[1:].numpy()), rel=1e-12)


@pytest.mark.parametrize("inside", [False, True], ids=["outside autocast", "inside autocast"])
@each_loss
def test_half_precision_logits_are_summed_in_float32(
    build: Callable[[], WeightedSum], slow: Slow, inside: bool
) -> None:
    """What a layer returns under bf16 autocast gives the loss of the same numbers in float32: pixels are not lost."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 1)
    target = torch.randint(4, (2, 60, 70))  # more pixels than bfloat16 can count
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(torch.rand(2, 3, 60, 70))
    assert logits.dtype == torch.bfloat16

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
        value = build()(logits, target)
    value.backward()

    assert value.dtype == torch.float32
    assert value.item() == build()(logits.detach().float(), target).item()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()
    assert (layer.weight.grad != 0).any()


WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "bincount"}
"""Operations that have the host wait for a GPU."""

REFUSED = {
    "nll_loss2d_forward",
    "nll_loss2d_backward",
    "kthvalue",
    "median",
    "histc",
    "put",
    "scatter_reduce",
    "upsample_bilinear2d_backward",
}
"""Operations that torch.use_deterministic_algorithms refuses on a GPU; it refuses cumsum over floats as well."""


class Operations(TorchDispatchMode):
    """Notes the names of all operations, those of the backward pass included, and the types of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        found = result if isinstance(result, tuple) else (result,)
        dtypes = {each.dtype for each in found if isinstance(each, Tensor)}
        self.types |= dtypes
        self.names.add(name)
        if name == "cumsum" and any(dtype.is_floating_point for dtype in dtypes):
            self.names.add("cumsum over floats")
        if name == "index" and any(index is not None and index.dtype == torch.bool for index in args[1]):
            self.names.add("nonzero")
        return result


@each_loss
def test_operations_suit_gpus(build: Callable[[], WeightedSum], slow: Slow) -> None:
    """No loss has the host wait, uses what deterministic mode refuses, or needs float64, which MPS lacks."""
    logits, target = batch()
    leaf = logits.float().requires_grad_()
    loss = build()

    with Operations() as seen:
        value = loss.value(loss.sums(leaf, target))
        torch.autograd.grad(value, leaf)

    assert "_log_softmax_backward_data" in seen.names or "_softmax_backward_data" in seen.names
    assert not seen.names & (WAITS | REFUSED | {"cumsum over floats"})
    assert torch.float64 not in seen.types
