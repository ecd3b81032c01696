"""Batches are the same whatever the number of workers and whatever step loading starts from."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segzoo.data.loaders import Batch, EvalBatch, Plan, eval_loader, train_loader
from segzoo.data.source import Pixels, Sample, Source, open_source
from segzoo.data.transforms import TrainTransform, build_augmentation
from segzoo.errors import DataError, RecipeError
from segzoo.recipe.data import ClassEntry, FolderData, ShapesData
from segzoo.recipe.schema import AugmentEntry

SEED = 5


def make_source(count: int = 10, **keys: Any) -> Source:
    """Return small scenes, which need no files."""
    return open_source(ShapesData(size=(24, 32), counts={"train": count, "val": count}, **keys), seed=SEED)


def make_transform(*names: str, **keys: Any) -> TrainTransform:
    """Return a pipeline of transforms that change every image."""
    entries = [AugmentEntry(name=name, p=0.5) for name in names]
    return build_augmentation(entries, ignore_index=255, image_size=keys.get("size"))


def load(
    source: Source, transform: TrainTransform, *, start: int = 0, stop: int | None = None, workers: int = 0
) -> list[Batch]:
    """Load the steps of two epochs, or some of them, in batches of three."""
    plan = Plan(len(source.splits["train"]), 3, SEED)
    loader = train_loader(
        source,
        "train",
        transform,
        plan,
        seed=SEED,
        start=start,
        stop=2 * plan.steps_per_epoch if stop is None else stop,
        workers=workers,
        pin_memory=False,
    )
    batches = list(loader)
    assert len(loader) == len(batches)
    return batches


def assert_equal(one: Sequence[Batch], other: Sequence[Batch]) -> None:
    """Raise unless all batches are equal bit for bit."""
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left.names == right.names
        assert torch.equal(left.images, right.images)
        assert torch.equal(left.masks, right.masks)


def test_plan_covers_each_epoch_in_its_own_order() -> None:
    """An epoch meets no sample twice; the next one has another order; the odd rest is left out."""
    plan = Plan(10, 3, SEED)
    assert plan.steps_per_epoch == 3
    epochs = [[plan.keys(3 * epoch + step) for step in range(3)] for epoch in range(3)]
    orders = []
    for number, batches in enumerate(epochs):
        keys = [key for batch in batches for key in batch]
        assert {epoch for epoch, _ in keys} == {number}
        indices = [index for _, index in keys]
        assert len(set(indices)) == 9
        assert set(indices) <= set(range(10))
        orders.append(indices)
    assert orders[0] != orders[1] != orders[2]
    assert epochs[1][2] == Plan(10, 3, SEED).keys(5)
    assert plan.keys(0) != Plan(10, 3, SEED + 1).keys(0)


@pytest.mark.parametrize(
    ("samples", "size", "steps", "first"), [(3, 8, 1, 3), (8, 8, 1, 8), (1, 1, 1, 1), (15, 8, 1, 8)]
)
def test_plan_of_few_samples(samples: int, size: int, steps: int, first: int) -> None:
    """Fewer samples than a batch are one batch; more leave out what does not fill one."""
    plan = Plan(samples, size, SEED)
    assert (plan.steps_per_epoch, len(plan.keys(0)), len(plan.keys(7))) == (steps, first, first)


def test_plan_needs_samples() -> None:
    """Values that make no batch are refused."""
    with pytest.raises(ValueError, match="got 0 and 4"):
        Plan(0, 4, SEED)
    with pytest.raises(ValueError, match="got 4 and 0"):
        Plan(4, 0, SEED)


def test_batches_are_bytes() -> None:
    """Images come as (N, 3, H, W), masks as (N, H, W), both uint8 and contiguous, and hold what the source gave."""
    source = make_source()
    batch = load(source, make_transform(), stop=1)[0]
    assert (batch.images.dtype, batch.masks.dtype) == (torch.uint8, torch.uint8)
    assert (batch.images.shape, batch.masks.shape) == ((3, 3, 24, 32), (3, 24, 32))
    assert batch.images.is_contiguous()
    samples = {sample.name: sample for sample in source.splits["train"]}
    for name, image, mask in zip(batch.names, batch.images, batch.masks, strict=True):
        expected_image, expected_mask = source.read(samples[name])
        np.testing.assert_array_equal(image.permute(1, 2, 0), expected_image)
        np.testing.assert_array_equal(mask, expected_mask)


def test_workers_change_nothing() -> None:
    """Two epochs with two workers equal those without, bit for bit."""
    source, transform = make_source(), make_transform("HorizontalFlip", "GaussNoise", "RandomBrightnessContrast")
    assert_equal(load(source, transform), load(source, transform, workers=2))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [1, 3, 5])
def test_any_step_can_be_the_first(start: int, workers: int) -> None:
    """A run that goes on from a step meets the batches that it would have met."""
    source, transform = make_source(), make_transform("VerticalFlip", "GaussNoise")
    assert_equal(load(source, transform)[start:], load(source, transform, start=start, workers=workers))


def test_augmentations_differ_between_epochs_and_samples() -> None:
    """No draw repeats: the noise on one sample is another in each of ten epochs, and so is that on other samples."""
    source, transform = (
        make_source(count=3),
        build_augmentation([AugmentEntry(name="GaussNoise", p=1.0)], ignore_index=255, image_size=None),
    )
    clean = {sample.name: source.read(sample)[0].astype(int) for sample in source.splits["train"]}
    noises = {
        (image.permute(1, 2, 0).numpy().astype(int) - clean[name]).tobytes()
        for batch in load(source, transform, stop=10)
        for name, image in zip(batch.names, batch.images, strict=True)
    }
    assert len(noises) == 30


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_state_is_left_alone(workers: int) -> None:
    """Loading draws nothing from torch's generator, so dropout does not depend on it."""
    before = torch.get_rng_state()
    load(make_source(), make_transform("GaussNoise"), stop=2, workers=workers)
    list(eval_loader(make_source(), "val", image_size=None, batch_size=4, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_workers_need_can_be_pickled() -> None:
    """Where processes are not forked, the data set travels through a pipe."""
    source, transform = make_source(), make_transform("GaussNoise")
    loader = train_loader(
        source, "train", transform, Plan(10, 3, 0), seed=0, start=0, stop=1, workers=0, pin_memory=False
    )
    copy = pickle.loads(pickle.dumps(loader.dataset))
    assert torch.equal(copy.__getitems__([(0, 1)]).images, loader.dataset.__getitems__([(0, 1)]).images)  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_takes_each_sample_once(workers: int) -> None:
    """All samples come once and in order, the last batch being smaller; a limit takes the first ones."""
    source = make_source(count=7)
    batches = list(eval_loader(source, "val", image_size=(12, 16), batch_size=3, workers=workers))
    assert [len(batch.names) for batch in batches] == [3, 3, 1]
    assert [name for batch in batches for name in batch.names] == [sample.name for sample in source.splits["val"]]
    for batch in batches:
        assert batch.images.shape[1:] == (3, 12, 16)
        assert all(mask.shape == (24, 32) and mask.dtype == torch.uint8 for mask in batch.masks)
    first = eval_loader(source, "val", image_size=None, batch_size=3, workers=workers, limit=4)
    assert [len(batch.names) for batch in first] == [3, 1]
    assert sum(len(batch.masks) for batch in batches) == 7


@dataclass(frozen=True)
class Mixed:
    """A source of images of given sizes; each mask holds its number."""

    sizes: tuple[tuple[int, int], ...]
    classes: tuple[ClassEntry, ...] = ()
    ignore_index: int = 255
    settings: str = ""

    @property
    def splits(self) -> dict[str, tuple[Sample, ...]]:
        """One split of all."""
        return {"train": tuple(Sample(f"s{number}", None, None, number) for number in range(len(self.sizes)))}

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Return an image and a mask full of the sample's number."""
        size = self.sizes[sample.number]
        return np.full((*size, 3), sample.number, np.uint8), np.full(size, sample.number, np.uint8)


SIZES = ((6, 8), (5, 9), (1, 1), (1, 30), (30, 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_masks_keep_their_own_size(workers: int) -> None:
    """Images of all sizes are scored at the resolution of their masks."""
    batches: Iterable[EvalBatch] = eval_loader(Mixed(SIZES), "train", image_size=(4, 4), batch_size=5, workers=workers)
    for batch in batches:
        assert [tuple(mask.shape) for mask in batch.masks] == list(SIZES)
        assert [mask.unique().tolist() for mask in batch.masks] == [[0], [1], [2], [3], [4]]
        assert [image.unique().tolist() for image in batch.images] == [[0], [1], [2], [3], [4]]


@pytest.mark.parametrize("workers", [0, 1])
def test_different_sizes_in_a_batch_are_refused(workers: int) -> None:
    """Without a size for the network, a batch needs equal images; the message names two and the way out."""
    source = Mixed(SIZES)
    with pytest.raises(
        DataError, match=r"^images of .* \(s\d \d+x\d+, .*set data\.image_size, or train\.batch_size 1$"
    ):
        load(source, make_transform(), workers=workers)
    with pytest.raises(DataError, match=r"\(s0 6x8, s1 5x9\): .*eval\.batch_size 1$"):
        list(eval_loader(source, "train", image_size=None, batch_size=2, workers=workers))
    assert len(list(eval_loader(source, "train", image_size=None, batch_size=1, workers=workers))) == 5


@pytest.mark.parametrize("workers", [0, 1])
def test_slivers_are_resized(workers: int) -> None:
    """Images of any shape can be trained on at the network's size."""
    batch = load(Mixed(SIZES), make_transform("HorizontalFlip", size=(8, 8)), stop=1, workers=workers)[0]
    assert batch.images.shape == (3, 3, 8, 8)
    for name, image, mask in zip(batch.names, batch.images, batch.masks, strict=True):
        assert image.unique().tolist() == mask.unique().tolist() == [int(name[1:])]


@pytest.mark.parametrize("workers", [0, 1])
def test_faults_arrive_in_words(tmp_path: Path, workers: int) -> None:
    """A file that goes after the scan, or a crop that does not fit, is told without a worker's traceback."""
    for kind in ("images", "masks"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        Image.new("RGB" if kind == "images" else "L", (8, 6)).save(tmp_path / "train" / kind / "a.png")
    classes = (ClassEntry(name="a"), ClassEntry(name="b"))
    source = open_source(FolderData(root=str(tmp_path), classes=classes, splits={"train": "train"}), seed=0)
    crop = AugmentEntry.model_validate({"name": "RandomCrop", "height": 50, "width": 50})
    with pytest.raises(RecipeError, match=r"^a: augment fails on an image of 6x8: [^\n]*$"):
        load(source, build_augmentation([crop], ignore_index=255, image_size=None), workers=workers)
    (tmp_path / "train/images/a.png").unlink()
    with pytest.raises(DataError, match=r"^\S*a\.png: No such file or directory$"):
        load(source, make_transform(), workers=workers)
