"""Kept samples come back as they were, within the memory allowed, to every process that was forked later."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from segzoo.data.loading import cache as module
from segzoo.data.loading.cache import SHARE, DecodedCache, make_cache
from segzoo.data.source import Pixels

MIB = 2**20


def make_sample(number: int, height: int = 6, width: int = 5, channels: int = 3) -> tuple[Pixels, Pixels]:
    """Return noise of a size of one's own."""
    rng = np.random.default_rng(number)
    shape = (height + number, width, channels)
    return rng.integers(0, 256, shape, np.uint8), rng.integers(0, 256, shape[:2], np.uint8)


def assert_found(cache: DecodedCache, position: int, sample: tuple[Pixels, Pixels]) -> None:
    """Raise unless the cache has the sample, bit for bit."""
    found = cache.find(position)
    assert found is not None
    for one, other in zip(found, sample, strict=True):
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_samples_of_all_sizes_come_back(channels: int) -> None:
    """Image and mask come back in their own shapes; what was not kept is not found."""
    cache = DecodedCache(8, MIB)
    samples = {position: make_sample(position, channels=channels) for position in (5, 0, 7)}
    for position, sample in samples.items():
        cache.keep(position, *sample)
    for position, sample in samples.items():
        assert_found(cache, position, sample)
    assert all(cache.find(position) is None for position in (1, 2, 3, 4, 6))


def test_a_mask_may_have_another_size() -> None:
    """Image and mask each keep their own shape."""
    cache = DecodedCache(1, MIB)
    sample = make_sample(0)[0], make_sample(9)[1]
    cache.keep(0, *sample)
    assert_found(cache, 0, sample)


def test_what_is_found_is_a_copy() -> None:
    """Neither changes to what was kept nor to what was found show the next time."""
    cache = DecodedCache(1, MIB)
    image, mask = make_sample(0)
    cache.keep(0, image.copy(), mask.copy())
    for _ in range(2):
        found = cache.find(0)
        assert found is not None
        np.testing.assert_array_equal(found[0], image)
        found[0][...] = 0
        found[1][...] = 0
    kept = make_sample(0)
    other = DecodedCache(1, MIB)
    other.keep(0, *kept)
    kept[0][...] = 0
    assert_found(other, 0, (image, mask))


def test_a_full_cache_keeps_what_it_has() -> None:
    """Samples beyond the capacity are left out, a smaller one that still fits is taken, and nothing is displaced."""
    large, small = make_sample(10, width=20), make_sample(0)
    cache = DecodedCache(4, 2 * (large[0].size + large[1].size))
    for position in range(3):
        cache.keep(position, *(large if position else small))
    assert_found(cache, 0, small)
    assert_found(cache, 1, large)
    assert cache.find(2) is None


def test_a_position_is_taken_once() -> None:
    """A sample that two workers decode at the same time takes its place once: the second changes nothing."""
    cache = DecodedCache(2, MIB)
    cache.keep(0, *make_sample(0))
    cache.keep(0, *make_sample(1))
    assert_found(cache, 0, make_sample(0))


def test_a_write_that_was_cut_short_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample can be found only when it is written whole."""
    cache = DecodedCache(2, MIB)
    image, mask = make_sample(0)

    class Killed(BaseException):
        """Stands for the end of the process."""

    view = DecodedCache._view

    def stop_at_the_mask(self: DecodedCache, start: int, shape: tuple[int, ...]) -> Pixels:
        if shape == mask.shape:
            raise Killed
        return view(self, start, shape)

    with monkeypatch.context() as patch:
        patch.setattr(DecodedCache, "_view", stop_at_the_mask)
        with pytest.raises(Killed):
            cache.keep(0, image, mask)
    assert cache.find(0) is None
    cache.keep(1, image, mask)
    assert_found(cache, 1, (image, mask))


def test_filling_stops_when_memory_becomes_scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache looks from time to time; once less is left than it may take in all, it takes no more."""
    capacity = 10_000
    answers = [capacity, capacity, capacity - 1]
    monkeypatch.setattr(module, "LOOK_EVERY", 1000)
    monkeypatch.setattr(module, "available_memory", lambda: answers.pop(0))
    cache = DecodedCache(20, capacity)
    image, mask = np.zeros((20, 5, 3), np.uint8), np.zeros((20, 5), np.uint8)
    for position in range(20):
        cache.keep(position, image, mask)
    # Each takes 448 bytes: it looks at the first, the fourth and the seventh.
    assert [position for position in range(20) if cache.find(position) is not None] == [0, 1, 2, 3, 4, 5]
    assert answers == []


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="processes are not forked here")
def test_forked_processes_share_it() -> None:
    """Four processes that fill one cache at the same time lose nothing and mix up nothing."""
    cache = DecodedCache(200, 4 * MIB)

    def fill(first: int) -> None:
        for number in range(200):
            position = (number + first) % 200
            cache.keep(position, *make_sample(position))

    processes = [multiprocessing.Process(target=fill, args=(50 * number,)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for position in range(200):
        assert_found(cache, position, make_sample(position))


def test_the_capacity_is_a_share_of_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a number a part of the available memory is taken, and nothing where the system does not tell."""
    monkeypatch.setattr(module, "available_memory", lambda: 100 * MIB)
    cache = make_cache(3)
    assert cache is not None
    assert cache.capacity == int(SHARE * 100 * MIB)
    monkeypatch.setattr(module, "available_memory", lambda: 0)
    assert make_cache(3) is None
    assert make_cache(3, capacity=0) is None


@pytest.mark.parametrize("capacity", [2**62, 2**64])
def test_memory_that_cannot_be_had_is_no_fault(capacity: int) -> None:
    """Where the system refuses, samples are simply decoded each time."""
    assert make_cache(3, capacity=capacity) is None
