"""Losses agree with slow versions in numpy, add up over parts of a batch, and survive batches without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segzoo.losses import CrossEntropy, Dice, WeightedSum, build_loss, enet_weights, median_frequency_weights
from segzoo.recipe import schema

IGNORED = 255
WEIGHTS = (0.5, 2.0, 0.0, 1.5)
Floats = NDArray[np.float64]


def slow_softmax(logits: Floats) -> Floats:
    """Return probabilities over axis 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def slow_cross_entropy(
    logits: Floats, target: NDArray[np.int64], *, weights: Sequence[float] | None = None, smoothing: float = 0.0
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


def slow_dice(logits: Floats, target: NDArray[np.int64]) -> float:
    """Return one minus the mean Dice coefficient, one class after the other."""
    probabilities = slow_softmax(logits)
    losses = []
    for label in range(logits.shape[1]):
        true = (target == label).sum()
        if true:
            scores = probabilities[:, label][target != IGNORED]
            losses.append(1 - 2 * probabilities[:, label][target == label].sum() / (scores.sum() + true))
    return float(np.mean(losses))


CASES: dict[str, tuple[Callable[[], WeightedSum], Callable[[Floats, NDArray[np.int64]], float]]] = {
    "cross_entropy": (lambda: WeightedSum([(1.0, CrossEntropy(ignore_index=IGNORED))]), slow_cross_entropy),
    "weighted": (
        lambda: WeightedSum([(1.0, CrossEntropy(ignore_index=IGNORED, class_weights=WEIGHTS))]),
        lambda logits, target: slow_cross_entropy(logits, target, weights=WEIGHTS),
    ),
    "smoothed": (
        lambda: WeightedSum([(1.0, CrossEntropy(ignore_index=IGNORED, label_smoothing=0.2))]),
        lambda logits, target: slow_cross_entropy(logits, target, smoothing=0.2),
    ),
    "weighted and smoothed": (
        lambda: WeightedSum([(1.0, CrossEntropy(ignore_index=IGNORED, class_weights=WEIGHTS, label_smoothing=0.2))]),
        lambda logits, target: slow_cross_entropy(logits, target, weights=WEIGHTS, smoothing=0.2),
    ),
    "dice": (lambda: WeightedSum([(1.0, Dice(ignore_index=IGNORED))]), slow_dice),
    "sum": (
        lambda: WeightedSum([(0.25, CrossEntropy(ignore_index=IGNORED)), (3.0, Dice(ignore_index=IGNORED))]),
        lambda logits, target: 0.25 * slow_cross_entropy(logits, target) + 3 * slow_dice(logits, target),
    ),
}
each_loss = pytest.mark.parametrize(("build", "slow"), CASES.values(), ids=CASES)


def batch(*, images: int = 2, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Return float64 logits, and labels of which the first image has many ignored, the last few, the same each time."""
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(images, classes, 5, 7, generator=generator, dtype=torch.float64)
    target = torch.randint(classes, (images, 5, 7), generator=generator)
    target[0, :4] = IGNORED
    target[-1, 2, 3] = IGNORED
    return logits, target


def gradient_of(loss: WeightedSum, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and its gradient."""
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@each_loss
def test_value_agrees_with_numpy(
    build: Callable[[], WeightedSum], slow: Callable[[Floats, NDArray[np.int64]], float]
) -> None:
    """Weights, smoothing and ignored pixels enter as the slow version has them, in float64 and in float32."""
    logits, target = batch()

    expected = slow(logits.numpy(), target.numpy())

    assert build().double()(logits, target).item() == pytest.approx(expected, rel=1e-12)
    assert build()(logits.float(), target).item() == pytest.approx(expected, rel=1e-5)


@each_loss
def test_gradient_agrees_with_numpy(
    build: Callable[[], WeightedSum], slow: Callable[[Floats, NDArray[np.int64]], float]
) -> None:
    """The gradient is the slope of the slow version, at ignored pixels exactly 0."""
    logits, target = batch()
    _, gradient = gradient_of(build().double(), logits, target)

    for index in [(0, 1, 4, 2), (0, 3, 4, 6), (1, 0, 0, 0), (1, 2, 3, 3), (1, 3, 4, 6)]:
        step = np.zeros(logits.shape)
        step[index] = 1e-6
        rise = slow(logits.numpy() + step, target.numpy()) - slow(logits.numpy() - step, target.numpy())
        assert gradient[index].item() == pytest.approx(rise / 2e-6, rel=1e-4, abs=1e-9)
    assert (gradient.movedim(1, -1)[target == IGNORED] == 0).all()
    assert (gradient != 0).any()


@each_loss
def test_all_ignored_is_exactly_zero(
    build: Callable[[], WeightedSum], slow: Callable[[Floats, NDArray[np.int64]], float]
) -> None:
    """A batch without a label has the loss 0 and the gradient 0, neither NaN nor nearly 0."""
    logits, target = batch()

    value, gradient = gradient_of(build(), logits.float(), torch.full_like(target, IGNORED))

    assert value.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_pixels_without_weight_are_exactly_zero() -> None:
    """Where all pixels are of classes of weight 0, label smoothing does not let them in by the back door."""
    loss = WeightedSum([(1.0, CrossEntropy(ignore_index=IGNORED, class_weights=WEIGHTS, label_smoothing=0.2))])
    logits, target = batch()

    value, gradient = gradient_of(loss, logits.float(), torch.full_like(target, WEIGHTS.index(0.0)))

    assert value.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@each_loss
def test_halves_add_up_to_the_whole(
    build: Callable[[], WeightedSum], slow: Callable[[Floats, NDArray[np.int64]], float]
) -> None:
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
def test_a_half_without_labels_changes_nothing(
    build: Callable[[], WeightedSum], slow: Callable[[Floats, NDArray[np.int64]], float]
) -> None:
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
    build: Callable[[], WeightedSum], slow: Callable[[Floats, NDArray[np.int64]], float], inside: bool
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


def test_dice_leaves_out_an_absent_class() -> None:
    """A class that the target lacks is not in the mean, although it is predicted; the others are scored as ever."""
    logits, target = batch()
    target[target == 2] = 1
    logits[:, 2] += 2

    value = WeightedSum([(1.0, Dice(ignore_index=IGNORED))])(logits, target).item()

    assert value == pytest.approx(slow_dice(logits.numpy(), target.numpy()), rel=1e-12)
    scores = torch.nn.functional.one_hot(target.where(target != IGNORED, 0), 4).movedim(-1, 1) * 1000.0
    perfect = WeightedSum([(1.0, Dice(ignore_index=IGNORED))])(scores, target).item()
    assert perfect == pytest.approx(0, abs=1e-6), "an absent class counts as a miss"


def test_dice_of_an_image_that_is_all_wrong_is_one() -> None:
    """Where every pixel is surely another class, nothing intersects."""
    scores = torch.zeros(1, 3, 4, 4)
    scores[:, 2] = 1000

    value = WeightedSum([(1.0, Dice(ignore_index=IGNORED))])(scores, torch.zeros(1, 4, 4, dtype=torch.long))

    assert value.item() == 1


def test_median_frequency_weights_agree_with_numpy() -> None:
    """The median of the frequencies that are not 0, over each; an absent class weighs 0 and is not in the median."""
    class_pixels, image_pixels = [900, 50, 0, 30, 20], [1000, 500, 0, 1000, 250]
    frequency = np.array([900 / 1000, 50 / 500, 30 / 1000, 20 / 250])

    weights = median_frequency_weights(class_pixels, image_pixels)

    expected = np.median(frequency) / frequency
    assert weights == pytest.approx([expected[0], expected[1], 0, expected[2], expected[3]], rel=1e-12)


def test_enet_weights_agree_with_the_paper() -> None:
    """1 / ln(1.02 + share): about 50.5 for a class that never occurs, about 1.42 for one that is everywhere."""
    pixels = [600, 300, 0, 100]

    assert enet_weights(pixels) == pytest.approx([1 / math.log(1.02 + count / 1000) for count in pixels], rel=1e-12)
    assert enet_weights([7, 0]) == pytest.approx([1.42, 50.5], rel=1e-2)
    assert all(math.isfinite(weight) for weight in enet_weights([0, 0]))


def test_build_loss_makes_what_the_recipe_says() -> None:
    """Terms keep their order, weights and arguments; class weights come from outside."""
    terms = (schema.Dice(weight=0.5), schema.CrossEntropy(weight=2.0, label_smoothing=0.1, class_weights="enet"))

    loss = build_loss(terms, ignore_index=IGNORED, class_weights=[None, WEIGHTS]).double()

    logits, target = batch()
    smooth = slow_cross_entropy(logits.numpy(), target.numpy(), weights=WEIGHTS, smoothing=0.1)
    expected = 0.5 * slow_dice(logits.numpy(), target.numpy()) + 2 * smooth
    assert loss(logits, target).item() == pytest.approx(expected, rel=1e-7)  # the weights came as float32


@pytest.mark.parametrize(
    "term",
    [
        schema.Focal(),
        schema.DistanceFocal(),
        schema.Jaccard(),
        schema.Lovasz(),
        schema.Tversky(),
        schema.Ohem(),
        schema.BoundaryCrossEntropy(),
    ],
    ids=lambda term: term.name,
)
def test_build_loss_refuses_what_is_not_built(term: schema.LossTerm) -> None:
    """A term of the schema without a class behind it is refused by name, never left out."""
    with pytest.raises(ValueError, match=f"no loss is built for '{term.name}'"):
        build_loss([schema.Dice(), term], ignore_index=IGNORED, class_weights=[None, None])


def test_weighted_sum_refuses_other_modules() -> None:
    """Only what has sums and a value can be added; the message names the class."""
    loss = WeightedSum([(1.0, nn.CrossEntropyLoss())])  # type: ignore[list-item]

    with pytest.raises(TypeError, match="expected a loss, got CrossEntropyLoss"):
        loss(*batch())
