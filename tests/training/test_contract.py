"""The first batch is described as the network gets it, and what training would pass over in silence is said."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from segzoo.data.loading.loaders import Batch
from segzoo.data.normalise import Normalise, channel_statistics
from segzoo.errors import DataError
from segzoo.runs.records import BatchRecord
from segzoo.spec import InputSpec
from segzoo.training.contract import check_first_batch, describe_batch, find_traps

NAMES = ("sky", "road", "tree")
IGNORED = 255
RGB = InputSpec()


def batch_of(images: torch.Tensor, masks: torch.Tensor | None = None) -> Batch:
    """Return a batch of images ``(N, C, H, W)`` with masks of one class where none are given."""
    shape = (len(images), *images.shape[2:])
    masks = torch.zeros(shape) if masks is None else masks.expand(shape)
    return Batch(images.to(torch.uint8), masks.to(torch.uint8), ("a",) * len(images))


def noise(low: int, high: int, *, channels: int = 3) -> torch.Tensor:
    """Return two images of every level from low to high."""
    levels = torch.arange(low, high + 1).repeat(2 * channels * 3)
    return levels.reshape(2, channels, 3, -1)


def describe(batch: Batch, spec: InputSpec = RGB) -> BatchRecord:
    """Return the record of a batch under a spec."""
    normalise = Normalise(*channel_statistics(spec, batch.images.shape[1]))
    return describe_batch(batch, normalise, names=NAMES, ignore_index=IGNORED)


def traps(images: torch.Tensor, spec: InputSpec = RGB, masks: torch.Tensor | None = None) -> list[str]:
    """Return what is told of a batch."""
    return list(find_traps(describe(batch_of(images, masks), spec), spec))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_statistics_are_those_of_the_normalised_batch(channels: int) -> None:
    """Mean, deviation and range of each channel are what numpy finds in the input itself."""
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, channels, 7, 5), dtype=np.uint8))
    normalise = Normalise(*channel_statistics(RGB, channels))
    values = normalise(images).numpy().astype(np.float64)

    record = describe(batch_of(images))

    assert (record.images, record.size, len(record.channels)) == (3, (7, 5), channels)
    for channel, found in enumerate(record.channels):
        plane = values[:, channel]
        assert found.mean == pytest.approx(plane.mean(), abs=1e-5)
        assert found.std == pytest.approx(plane.std(), rel=1e-5)
        assert (found.min, found.max) == pytest.approx((plane.min(), plane.max()), rel=1e-5)


def test_labels_are_counted() -> None:
    """Range, classes present and the share ignored, which belongs to neither."""
    record = describe(batch_of(noise(0, 255), torch.tensor([1, 2, 2, IGNORED]).repeat(64)))

    assert (record.labels, record.classes, record.known_classes) == ((1, 2), ("road", "tree"), 3)
    assert record.ignored == 0.25


def test_labels_outside_the_classes_are_refused() -> None:
    """They are named, with the classes that there are and where they may come from."""
    masks = torch.tensor([0, 3, 17, IGNORED]).repeat(64)
    with pytest.raises(DataError, match=r"holds the labels 3, 17 after augmentation; the classes are 0 to 2 and 255"):
        describe(batch_of(noise(0, 255), masks))


@pytest.mark.parametrize(("high", "told"), [(0, "0"), (1, "1"), (15, "15")])
def test_files_of_low_values_are_told(high: int, told: str) -> None:
    """Files of 0 to 1 or 0 to 15 are named for what they are, with the highest value and the way out."""
    (trap,) = traps(noise(0, high))

    assert f"no value is above {told} of 255" in trap
    assert "divided by 255 once more" in trap
    assert "segzoo data check" in trap


@pytest.mark.parametrize(
    "images",
    [noise(0, 255), noise(0, 16), torch.full((2, 3, 4, 4), 128), torch.full((1, 3, 4, 4), 255)],
    ids=["bytes", "night", "constant", "white"],
)
def test_no_false_alarm(images: torch.Tensor) -> None:
    """Night with a single brighter pixel, one colour, and white are passed without a word."""
    assert traps(images) == []


def test_one_channel_may_be_black() -> None:
    """Images without blue are images."""
    images = noise(0, 255)
    images[:, 2] = 0
    assert traps(images) == []


def test_statistics_of_bytes_are_told() -> None:
    """A model that states mean and deviation on the scale of bytes gets next to a constant; its author can mend it."""
    spec = InputSpec(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
    (trap,) = traps(noise(0, 255), spec)
    assert trap.startswith("the model states a mean of 123.7 116.3 103.5 and a std of 58.4 57.1 57.4")
    assert "divided by 255 twice" in trap


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(mean=(0.5,) * 3, std=(0.5,) * 3),
        InputSpec(mean=(0.0,) * 3, std=(1.0,) * 3),
        InputSpec(mean=(0.5,), std=(0.25,)),
    ],
    ids=["half", "none", "grey"],
)
def test_other_specs_are_fine(spec: InputSpec) -> None:
    """Statistics other than ImageNet's, and of one channel, raise no alarm on whole bytes."""
    assert traps(noise(0, 255), spec) == []


def test_input_that_no_bytes_give_is_told() -> None:
    """Values that the stated statistics cannot make of bytes are told with what they undo to."""
    wrong = Normalise((0.0,) * 3, (1 / 255,) * 3)
    record = describe_batch(batch_of(noise(0, 255)), wrong, names=NAMES, ignore_index=IGNORED)

    (trap,) = find_traps(record, RGB)

    assert trap.startswith(
        "the input is not what bytes in [0, 1] minus 0.485 0.456 0.406 over 0.229 0.224 0.225 can be"
    )


def test_nothing_to_learn_is_told() -> None:
    """A batch of ignored pixels alone is a warning, no error: others may hold more."""
    (trap,) = traps(noise(0, 255), masks=torch.tensor(IGNORED))
    assert trap.startswith("every pixel of the first batch is ignored")


def test_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Two lines describe it, and what is suspicious is a warning."""
    with caplog.at_level(logging.INFO, logger="segzoo"):
        record = check_first_batch(
            batch_of(noise(0, 1)), Normalise(RGB.mean, RGB.std), RGB, names=NAMES, ignore_index=IGNORED
        )

    told = [(entry.levelname, entry.getMessage()) for entry in caplog.records]
    assert [level for level, _ in told] == ["INFO", "INFO", "WARNING"]
    assert [message for _, message in told[:2]] == [f"{name}: {value}" for name, value in record.facts]
