"""A split is scored at its masks' own resolution, each pixel once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from segzoo.data.loading.loaders import EvalBatch
from segzoo.data.normalise import Normalise
from segzoo.losses import CrossEntropy, Dice, WeightedSum
from segzoo.metrics import boundary_f1, class_counts, confusion
from segzoo.scoring.evaluation import (
    Compilation,
    Evaluation,
    Network,
    Stopped,
    Windows,
    count_image,
    resize_logits,
    score_split,
)

CLASSES = 3
IGNORED = 255
CPU = torch.device("cpu")
SIZES = [(8, 8), (9, 5), (16, 24), (8, 8), (3, 40)]


def predict(images: Tensor) -> Tensor:
    """Return logits that are a function of the pixels, at half their resolution."""
    pixels = images.float()
    scores = torch.stack([pixels[:, 0] - 100, 120 - pixels[:, 1], pixels[:, 2] / 2 - 60], dim=1) / 30
    return F.avg_pool2d(scores, 2)


def split(sizes: Sequence[tuple[int, int]] = SIZES, *, batch_size: int = 2) -> list[EvalBatch]:
    """Return batches of images of 8x8 with masks of the given sizes, a fifth of them ignored; the last may be odd."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (len(sizes), 3, 8, 8), generator=generator, dtype=torch.uint8)
    masks = []
    for size in sizes:
        mask = torch.randint(CLASSES, size, generator=generator, dtype=torch.uint8)
        masks.append(mask.where(torch.rand(size, generator=generator) > 0.2, IGNORED))
    return [
        EvalBatch(
            images[first : first + batch_size],
            tuple(masks[first : first + batch_size]),
            tuple(f"image {index}" for index in range(first, min(first + batch_size, len(sizes)))),
        )
        for first in range(0, len(sizes), batch_size)
    ]


def score(
    batches: Sequence[EvalBatch], *, keep: int = 0, should_stop: Callable[[], bool] = lambda: False
) -> Evaluation:
    """Evaluate with cross-entropy and Dice."""
    terms = [(1.0, CrossEntropy(ignore_index=IGNORED)), (0.5, Dice(ignore_index=IGNORED))]
    return score_split(
        predict,
        batches,
        num_classes=CLASSES,
        ignore_index=IGNORED,
        loss=WeightedSum(terms),
        device=CPU,
        keep=keep,
        should_stop=should_stop,
    )


def slow(batches: Sequence[EvalBatch]) -> tuple[list[list[int]], float, list[list[list[int]]]]:
    """Return matrix, loss and labels in numpy: one image after the other, then one pixel after the other."""
    matrix = [[0] * CLASSES for _ in range(CLASSES)]
    likelihood, intersection, masses, true = 0.0, np.zeros(CLASSES), np.zeros(CLASSES), np.zeros(CLASSES)
    labels = []
    for batch in batches:
        for image, mask in zip(batch.images, batch.masks, strict=True):
            logits = F.interpolate(predict(image[None]), tuple(mask.shape), mode="bilinear", align_corners=False)[0]
            powers = np.exp(logits.double().numpy())
            probabilities = powers / powers.sum(axis=0)
            labels.append(probabilities.argmax(axis=0).tolist())
            for row, column in np.ndindex(*mask.shape):
                target = int(mask[row, column])
                if target == IGNORED:
                    continue
                found = probabilities[:, row, column]
                matrix[target][int(found.argmax())] += 1
                likelihood -= math.log(found[target])
                intersection[target] += found[target]
                masses += found
                true[target] += 1
    dice = float(np.mean(1 - 2 * intersection / (masses + true)))
    return matrix, likelihood / true.sum() + 0.5 * dice, labels


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 8])
def test_score_agrees_with_numpy_whatever_the_batches(batch_size: int) -> None:
    """Masks of five sizes, one of them twice, give one matrix and one loss, also where the last batch is odd."""
    batches = split(batch_size=batch_size)
    matrix, loss, _ = slow(batches)

    result = score(batches)

    assert result.matrix.tolist() == matrix
    assert result.matrix.dtype == torch.int64
    assert result.loss == pytest.approx(loss, rel=1e-5)
    assert result.images == len(SIZES)
    pixels = sum(int((mask != IGNORED).sum()) for batch in batches for mask in batch.masks)
    assert int(result.matrix.sum()) == pixels < sum(height * width for height, width in SIZES)


def test_equal_masks_agree_with_numpy() -> None:
    """The way for batches whose masks are alike gives what the way for single masks gives."""
    batches = split([(16, 12)] * 5, batch_size=2)
    matrix, loss, _ = slow(batches)

    result = score(batches)

    assert result.matrix.tolist() == matrix
    assert result.loss == pytest.approx(loss, rel=1e-5)


def test_predictions_are_kept_at_mask_resolution() -> None:
    """The first images' labels come back as bytes in the masks' sizes, across batches, and no more than asked for."""
    batches = split()
    _, _, labels = slow(batches)

    result = score(batches, keep=3)

    assert [prediction.tolist() for prediction in result.predictions] == labels[:3]
    assert {prediction.dtype for prediction in result.predictions} == {torch.uint8}
    assert len(score(batches, keep=99).predictions) == len(SIZES)
    assert score(batches).predictions == ()


def test_ignored_pixels_do_not_count() -> None:
    """What is predicted under an ignored pixel moves neither matrix nor loss."""
    batches = split([(4, 4)], batch_size=1)  # the resolution of the logits
    ignored = batches[0].masks[0] == IGNORED
    assert 0 < ignored.sum() < 16
    images = batches[0].images.clone()
    images[:, :, ignored.repeat_interleave(2, 0).repeat_interleave(2, 1)] = 7

    result, changed = score(batches), score([batches[0]._replace(images=images)])

    assert not torch.equal(predict(images), predict(batches[0].images))
    assert torch.equal(result.matrix, changed.matrix)
    assert result.loss == changed.loss


def test_split_without_a_label_scores_nothing() -> None:
    """The matrix is empty and the loss 0; nothing is NaN."""
    batches = [batch._replace(masks=tuple(torch.full_like(mask, IGNORED) for mask in batch.masks)) for batch in split()]

    result = score(batches)

    assert int(result.matrix.sum()) == 0
    assert result.loss == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_loss_that_is_not_finite_is_none(bad: float) -> None:
    """Logits that broke down leave no number behind that JSON cannot hold; the matrix is still whole."""
    batch = split([(4, 4)], batch_size=1)[0]

    result = score_split(
        lambda images: torch.full((len(images), CLASSES, 4, 4), bad),
        [batch],
        num_classes=CLASSES,
        ignore_index=IGNORED,
        loss=WeightedSum([(1.0, CrossEntropy(ignore_index=IGNORED))]),
        device=CPU,
    )

    assert result.loss is None
    assert int(result.matrix.sum()) == int((batch.masks[0] != IGNORED).sum())


def test_stop_is_asked_before_each_batch() -> None:
    """A signal ends the evaluation after the batch at hand, without a half score."""
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    with pytest.raises(Stopped):
        score(split(), should_stop=stop)

    assert asked == [False, False, True]


def test_resizing_to_the_same_size_is_nothing() -> None:
    """Logits of the masks' size are scored as they are."""
    logits = torch.rand(1, 2, 4, 6)

    assert resize_logits(logits, (4, 6)) is logits
    assert resize_logits(logits, (8, 3)).shape == (1, 2, 8, 3)


def predictor(
    model: nn.Module,
    *,
    dtype: torch.dtype | None = None,
    channels_last: bool = False,
    compilation: Compilation | None = None,
) -> Network:
    """Return a predictor that subtracts nothing and halves."""
    return Network(
        model,
        Normalise((0.0, 0.0, 0.0), (2.0, 2.0, 2.0)),
        device=CPU,
        dtype=dtype,
        channels_last=channels_last,
        compilation=compilation,
    )


@pytest.mark.parametrize("sizes_vary", [False, True])
def test_a_compiled_predictor_scores_alike(sizes_vary: bool) -> None:
    """Normalisation and model are compiled for evaluation mode; what a training step calls is not."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    compiled = predictor(model, compilation=Compilation(train_sizes_vary=sizes_vary, eval_sizes_vary=sizes_vary))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()

    for height in (8, 9, 10):
        images = torch.randint(256, (2, 3, height, 7), dtype=torch.uint8)
        with torch.inference_mode():
            torch.testing.assert_close(compiled(images), predictor(model)(images))

    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == (1 if sizes_vary else 3)
    compiled.logits(images)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == (1 if sizes_vary else 3)


def test_predictor_normalises_and_sets_the_mode() -> None:
    """Called, it puts the model into evaluation mode; its logits are those of normalised bytes in any mode."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout(0.5))
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)

    scores = predictor(model)(images)

    assert not model.training
    torch.testing.assert_close(scores, model[0](images.float() / 255 / 2))
    model.train()
    assert (predictor(model).logits(images) == 0).any(), "dropout does not act"
    assert model.training


@pytest.mark.parametrize("channels_last", [False, True])
def test_predictor_computes_in_the_runs_precision(channels_last: bool) -> None:
    """The model sees bf16 and the layout under autocast, the loss sees float32."""
    seen: list[tuple[torch.dtype, bool]] = []

    class Spy(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            output = super().forward(input)
            seen.append((output.dtype, input.is_contiguous(memory_format=torch.channels_last)))
            return output

    scores = predictor(Spy(3, 2, 1), dtype=torch.bfloat16, channels_last=channels_last)(
        torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    )

    assert seen == [(torch.bfloat16, channels_last)]
    assert scores.dtype == torch.float32


def test_details_of_each_image() -> None:
    """Each image is counted for itself at its own resolution; together they are the matrix of the split."""
    batches = split()
    found = score_split(
        predict,
        batches,
        num_classes=CLASSES,
        ignore_index=IGNORED,
        loss=WeightedSum([(1.0, CrossEntropy(ignore_index=IGNORED))]),
        device=CPU,
        detail=True,
    )

    assert found.details is not None
    assert found.details.counts.shape == (len(SIZES), 3, CLASSES)
    assert torch.equal(found.details.counts.sum(0).double(), class_counts(found.matrix))
    assert found.details.counts[:, 1].sum(1).tolist() == [
        int((mask != IGNORED).sum()) for batch in batches for mask in batch.masks
    ]
    label = resize_logits(predict(batches[0].images[1:2]), SIZES[1]).argmax(1)[0]
    expected = boundary_f1(label, batches[0].masks[1], num_classes=CLASSES, ignore_index=IGNORED)
    torch.testing.assert_close(found.details.boundary[1], expected, equal_nan=True)
    assert score(batches).details is None


class Waits(TorchDispatchMode):
    """Notes operations that have the host wait for a GPU, and copies, between the batches of an evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._overloadpacket.__name__
        booleans = name == "index" and any(index is not None and index.dtype == torch.bool for index in args[1])
        if booleans or name in {"_local_scalar_dense", "nonzero", "masked_select", "equal"}:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("sizes", [SIZES, [(16, 12)] * 5], ids=["unlike", "alike"])
def test_nothing_waits_between_batches(sizes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting, the loss and kept predictions stay on the device until the split is through."""
    # The way of a GPU, whose counts read nothing on the host.
    monkeypatch.setattr(confusion, "_count_on_cpu", confusion._count_on_device)
    waits = Waits()

    def watched() -> Iterator[EvalBatch]:
        with waits:
            yield from split(sizes)

    terms = [(1.0, CrossEntropy(ignore_index=IGNORED)), (0.5, Dice(ignore_index=IGNORED))]
    found = score_split(
        predict,
        watched(),
        num_classes=CLASSES,
        ignore_index=IGNORED,
        loss=WeightedSum(terms),
        device=CPU,
        keep=3,
    )

    assert found.matrix.tolist() == slow(split(sizes))[0]
    assert not waits.found


def test_counting_one_image() -> None:
    """The counts of an image are right, true and predicted pixels of each class, without the ignored ones."""
    target = torch.tensor([[0, 0, 1, IGNORED], [2, 2, 2, IGNORED]])
    predicted = torch.tensor([[0, 1, 1, 2], [2, 2, 0, 0]])

    counts = count_image(predicted, target, num_classes=4, ignore_index=IGNORED)

    assert counts.tolist() == [[1, 1, 2, 0], [2, 1, 3, 0], [2, 2, 2, 0]]


def test_images_and_masks_are_copied_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole images, images seen in windows, and masks are copied to the device with non_blocking."""
    copies: list[bool] = []
    real = Tensor.to

    def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.dtype == torch.uint8 and args[:1] == (CPU,):
            copies.append(kwargs.get("non_blocking", False))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Tensor, "to", to)
    whole = predictor(nn.Conv2d(3, CLASSES, 1))
    for scorer in (whole, Network(**{**vars_of(whole), "windows": Windows((4, 4), 2)})):
        copies.clear()
        score_split(
            scorer,
            split([(8, 8)] * 2),
            num_classes=CLASSES,
            ignore_index=IGNORED,
            loss=None,
            device=CPU,
        )
        assert len(copies) >= 3
        assert all(copies)


def vars_of(given: Network) -> dict[str, Any]:
    """Return the arguments of a predictor."""
    names = ("model", "normalise", "device", "dtype", "cut", "windows")
    return {**{name: getattr(given, name) for name in names}, "channels_last": False}
