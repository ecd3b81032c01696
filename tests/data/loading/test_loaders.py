"""Batches are the same whatever the number of workers and whatever step loading starts from."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segzoo.data.loading import loaders
from segzoo.data.loading import workers as worker_module
from segzoo.data.loading.loaders import Batch, EvalBatch, eval_loader, train_loader, try_first_batch
from segzoo.data.loading.plan import Plan
from segzoo.data.loading.workers import BatchRequest, WorkerLoader
from segzoo.data.opening import open_source
from segzoo.data.source import Pixels, Sample, Source
from segzoo.data.transforms import TrainTransform, build_augmentation
from segzoo.errors import DataError, RecipeError
from segzoo.recipe.data import ClassEntry, FolderData, ShapesData
from segzoo.recipe.schema import AugmentEntry

SEED = 5


def make_source(count: int = 10, **keys: Any) -> Source:
    """Return small scenes, which need no files."""
    return open_source(ShapesData(size=(24, 32), counts={"train": count, "val": count}, **keys), seed=SEED)


def make_transform(*names: str, size: tuple[int, int] | None = None, p: float = 0.5) -> TrainTransform:
    """Return a pipeline of transforms."""
    entries = [AugmentEntry(name=name, p=p) for name in names]
    return build_augmentation(entries, ignore_index=255, image_size=size)


def load(
    source: Source,
    transform: TrainTransform,
    *,
    start: int = 0,
    stop: int | None = None,
    workers: int = 0,
    seed: int = SEED,
    cache_bytes: int | None = None,
) -> list[Batch]:
    """Load the steps of two epochs, or some of them, in batches of three."""
    plan = Plan(len(source.splits["train"]), 3, SEED)
    loader = train_loader(
        source,
        "train",
        transform,
        plan,
        seed=seed,
        start=start,
        stop=2 * plan.steps_per_epoch if stop is None else stop,
        workers=workers,
        pin_memory=False,
        cache_bytes=cache_bytes,
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


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("cache_bytes", [None, 0])
def test_workers_change_nothing(cache_bytes: int | None) -> None:
    """Two epochs with four workers equal those without, bit for bit, with decoded samples kept and without."""
    source, transform = make_source(), make_transform("HorizontalFlip", "GaussNoise", "RandomBrightnessContrast")
    alone = load(source, transform, cache_bytes=cache_bytes)
    assert len(alone) == 6
    assert_equal(alone, load(source, transform, workers=4, cache_bytes=cache_bytes))


def test_neither_does_the_way_batches_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers are not forked, nothing is kept and torch's own shared memory is used: the batches are the same."""
    source, transform = make_source(), make_transform("GaussNoise")
    shared = load(source, transform, workers=2)
    monkeypatch.setattr(loaders, "forks", lambda: False)
    monkeypatch.setattr(worker_module, "forks", lambda: False)
    assert_equal(shared, load(source, transform, workers=2))


@dataclass(frozen=True)
class Counting:
    """Scenes that are counted when they are drawn."""

    scenes: Source
    read_names: list[str]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scenes, name)

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Draw the scene."""
        self.read_names.append(sample.name)
        return self.scenes.read(sample)


CROP = AugmentEntry.model_validate({"name": "RandomCrop", "height": 10, "width": 20, "p": 1.0})


@pytest.mark.parametrize("cache_bytes", [None, 3 * 24 * 32 * 4])
@pytest.mark.parametrize("entries", [(), (AugmentEntry(name="GaussNoise", p=1.0),), (CROP,)])
def test_what_is_kept_changes_nothing(entries: Sequence[AugmentEntry], cache_bytes: int | None) -> None:
    """Kept samples are not read again, up to the bytes allowed, and the batches are those of reading every time."""
    source, transform = make_source(count=6), build_augmentation(entries, ignore_index=255, image_size=(24, 32))
    names: list[str] = []
    kept = load(Counting(source, names), transform, stop=8, cache_bytes=cache_bytes)
    assert_equal(load(source, transform, stop=8, cache_bytes=0), kept)
    # Three of six fit where the bytes are few; the others are read in each of four epochs.
    assert sorted(Counter(names).values()) == [1] * 6 if cache_bytes is None else [1, 1, 1, 4, 4, 4]


def test_augmenting_in_place_does_not_reach_what_is_kept() -> None:
    """A transform that writes into the image that it is given meets the decoded one in every epoch."""

    @dataclass(frozen=True)
    class Inverting(TrainTransform):
        """Turns pixels round where they lie."""

        def __call__(self, image: Pixels, mask: Pixels, *, seed: int) -> tuple[Pixels, Pixels]:
            np.subtract(255, image, out=image)
            return image, mask

    source = make_source(count=3)
    batches = load(source, Inverting(None, None, crops=False), stop=4)
    inverted = {sample.name: 255 - source.read(sample)[0] for sample in source.splits["train"]}
    for batch in batches:
        for name, image in zip(batch.names, batch.images, strict=True):
            np.testing.assert_array_equal(image.permute(1, 2, 0), inverted[name])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [1, 3, 5])
def test_any_step_can_be_the_first(start: int, workers: int) -> None:
    """A run that goes on from a step meets the batches that it would have met."""
    source, transform = make_source(), make_transform("VerticalFlip", "GaussNoise")
    assert_equal(load(source, transform)[start:], load(source, transform, start=start, workers=workers))


@dataclass(frozen=True)
class Grey:
    """Samples that all look the same, so that an image shows nothing but the draw."""

    count: int
    channels: int = 3
    classes: tuple[ClassEntry, ...] = ()
    ignore_index: int = 255
    settings: str = ""

    @property
    def splits(self) -> dict[str, tuple[Sample, ...]]:
        """One split of all."""
        return {"train": tuple(Sample(f"s{number}", None, None, number) for number in range(self.count))}

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Return a grey image."""
        return np.full((16, 20, self.channels), 128, np.uint8), np.zeros((16, 20), np.uint8)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_augmentation_repeats(workers: int) -> None:
    """Every sample of every epoch has its own draw: 12 samples, 10 epochs and 2 seeds make 240 different images."""
    source, transform = Grey(12), make_transform("GaussNoise", p=1.0)
    images = [
        image.numpy().tobytes()
        for seed in (1, 2)
        for batch in load(source, transform, stop=40, workers=workers, seed=seed)
        for image in batch.images
    ]
    assert len(images) == len(set(images)) == 240


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_images_of_any_channels(channels: int, workers: int) -> None:
    """Batches have as many channels as the images, also a single one, in training and in evaluation."""
    source = Grey(6, channels)
    for size in (None, (12, 15)):
        batches = load(source, make_transform("HorizontalFlip", "GaussNoise", size=size), workers=workers)
        assert {batch.images.shape for batch in batches} == {(3, channels, *(size or (16, 20)))}
        scored = list(eval_loader(source, "train", image_size=size, batch_size=3, workers=workers))
        assert {batch.images.shape for batch in scored} == {(3, channels, *(size or (16, 20)))}
        assert all(batch.images.unique().tolist() == [128] for batch in scored)


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
    sent, again = (data.__getitems__(BatchRequest([(0, 1), (0, 2)], None)) for data in (loader.dataset, copy))  # type: ignore[attr-defined]
    assert torch.equal(sent.data, again.data)
    assert sent.layout == again.layout


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


@pytest.mark.parametrize("pin_memory", [False, True])
def test_evaluation_can_be_pinned(pin_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is scored lies in page-locked memory where that is asked for: copies to a GPU wait for no other."""
    asked: list[bool] = []

    def loader(*args: Any, **settings: Any) -> WorkerLoader[EvalBatch]:
        asked.append(settings["pin_memory"])
        return WorkerLoader(*args, **settings | {"pin_memory": False})

    monkeypatch.setattr(loaders, "WorkerLoader", loader)
    list(eval_loader(make_source(), "val", image_size=None, batch_size=4, workers=0, pin_memory=pin_memory))
    assert asked == [pin_memory]


@pytest.mark.parametrize("count", [1, 7])
def test_processes_deal_out_an_evaluation(count: int) -> None:
    """Each takes every third sample in batches of its own; one without a sample has no batch."""
    source = make_source(count=count)
    names = [sample.name for sample in source.splits["val"]]
    for process in range(3):
        loader = eval_loader(source, "val", image_size=None, batch_size=2, workers=0, process=process, processes=3)
        assert [name for batch in loader for name in batch.names] == names[process::3]


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
    with pytest.raises(RecipeError, match=r"^a: augment fails on an image of 6x8 pixels and 3 channels: [^\n]*$"):
        load(source, build_augmentation([crop], ignore_index=255, image_size=None), workers=workers)
    (tmp_path / "train/images/a.png").unlink()
    with pytest.raises(DataError, match=r"^\S*a\.png: No such file or directory$"):
        load(source, make_transform(), workers=workers)


def test_the_first_batch_is_that_of_the_first_step() -> None:
    """What is looked at before a run is to the byte what the loader gives first."""
    source, transform = make_source(), make_transform("HorizontalFlip")
    expected = load(source, transform, stop=1)[0]

    found = try_first_batch(
        source, "train", transform, Plan(len(source.splits["train"]), len(expected.names), SEED), seed=SEED
    )

    assert found.names == expected.names
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.masks, expected.masks)


def test_the_first_batch_is_tried_before_a_run() -> None:
    """A crop larger than the image and sizes that differ are told without a step; a batch that is fine says nothing."""

    def attempt(source: Source, transform: TrainTransform, *, size: int = 3) -> None:
        try_first_batch(source, "train", transform, Plan(len(source.splits["train"]), size, SEED), seed=SEED)

    attempt(make_source(), make_transform("HorizontalFlip"))
    crop = AugmentEntry.model_validate({"name": "RandomCrop", "height": 50, "width": 20})
    with pytest.raises(RecipeError, match=r"^train-\d+: augment fails on an image of 24x32 pixels"):
        attempt(make_source(), build_augmentation([crop], ignore_index=255, image_size=None))
    with pytest.raises(DataError, match=r"^images of different sizes in a batch"):
        attempt(Mixed(SIZES), make_transform())
    attempt(Mixed(SIZES), make_transform(), size=1)
