"""Features by row, and what is told where there is no room for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from segzoo.errors import DataError, RecipeError
from segzoo.training import feature_cache
from segzoo.training.feature_cache import FeatureSet
from segzoo.transfer import Features


def batch(first: int, count: int, *, width: int = 3, dtype: torch.dtype = torch.float32) -> Features:
    """Return features that tell their row."""
    rows = torch.arange(first, first + count).view(-1, 1, 1)
    return Features(
        (rows.expand(count, 2, width).to(dtype), [rows.view(count, 1), None], 7), torch.Size((count, 3, 8, 8))
    )


@pytest.fixture(params=["memory", "disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Return where features are kept."""
    return tmp_path if request.param == "disk" else None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_come_back(folder: Path | None, dtype: torch.dtype) -> None:
    """Whatever rows are asked for come with their masks, in the type and the form that they had."""
    kept = FeatureSet(batch(0, 2, dtype=dtype), 5, folder)
    for first, count in ((0, 2), (2, 2), (4, 1)):
        masks = [torch.full((8, 8), row, dtype=torch.uint8) for row in range(first, first + count)]
        kept.add(batch(first, count, dtype=dtype), masks, [str(row) for row in range(first, first + count)])

    found = kept.batch([4, 0, 3])

    large, (small, nothing), number = found.images.tree
    assert large.dtype == dtype
    assert large[:, 0, 0].tolist() == small[:, 0].tolist() == found.masks[:, 0, 0].tolist() == [4, 0, 3]
    assert (nothing, number, found.names) == (None, 7, ("4", "0", "3"))
    assert found.images.size == (3, 3, 8, 8)
    assert [len(each.masks) for each in kept.eval_batches(2)] == [2, 2, 1]
    assert [name for each in kept.eval_batches(2) for name in each.names] == list("01234")


def test_file_is_gone_at_once(tmp_path: Path) -> None:
    """Features on the disk have no name, so that not even a kill leaves them behind."""
    kept = FeatureSet(batch(0, 1), 1, tmp_path)
    assert not list(tmp_path.iterdir())
    kept.add(batch(0, 1), [torch.zeros(8, 8, dtype=torch.uint8)], ["a"])
    assert kept.batch([0]).images.tree[0].shape == (1, 2, 3)


def test_other_shapes_are_refused(folder: Path | None) -> None:
    """Images of several sizes cannot be kept in rows; the message names one and the way out."""
    kept = FeatureSet(batch(0, 1), 2, folder)
    kept.add(batch(0, 1), [torch.zeros(8, 8)], ["a"])
    with pytest.raises(DataError, match=r"features of b are \(2, 4\).*data.image_size"):
        kept.add(batch(1, 1, width=4), [torch.zeros(8, 8)], ["b"])


def test_too_little_memory_is_told_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how much is needed, how much there is, and what to do."""
    monkeypatch.setattr(feature_cache, "available_memory", lambda: 2**30)
    with pytest.raises(RecipeError, match=r"take 2.2 GiB, 1.0 GiB are available; set it to 'disk'"):
        FeatureSet(batch(0, 1), 75_000_000, None)


def test_full_disk_is_told_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Space is asked for before it is used: writing to a mapped file on a full disk would end the process."""

    def full(*_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RecipeError, match=r"'disk': the features take 30.5 MiB, .*no space left on device; choose an"):
        FeatureSet(batch(0, 1), 1_000_000, tmp_path)
    assert not list(tmp_path.iterdir())


def test_channels_stay_last(folder: Path | None) -> None:
    """Features keep the layout in memory that the recipe asks for, and their values."""
    tensor = torch.rand(4, 5, 6, 7).contiguous(memory_format=torch.channels_last)
    kept = FeatureSet(Features(tensor, torch.Size((4, 3, 6, 7))), 4, folder)
    kept.add(Features(tensor, torch.Size((4, 3, 6, 7))), [torch.zeros(6, 7)] * 4, list("abcd"))

    found = kept.batch([3, 1]).images.tree
    assert torch.equal(found, tensor[[3, 1]])
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_batches_for_a_gpu_are_pinned(folder: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor lies in page-locked memory of its own, which torch keeps while a copy reads it."""
    pinned: set[int] = set()
    empty = torch.empty

    def note(tensor: torch.Tensor) -> torch.Tensor:
        pinned.add(tensor.untyped_storage().data_ptr())
        return tensor

    def make(*shape: Any, pin_memory: bool = False, **settings: Any) -> torch.Tensor:
        made = empty(*shape, **settings)
        return note(made) if pin_memory else made

    monkeypatch.setattr(torch, "empty", make)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: note(tensor.clone()))
    kept = FeatureSet(batch(0, 4), 4, folder, pin_memory=True)
    kept.add(batch(0, 4), [torch.full((8, 8), row, dtype=torch.uint8) for row in range(4)], list("abcd"))
    assert not pinned

    taken = [kept.batch([2, 0]), kept.batch([1, 3])]
    (scored,) = kept.eval_batches(4)

    assert [each.images.tree[0][:, 0, 0].tolist() for each in taken] == [[2, 0], [1, 3]]
    for each in (*taken, scored):
        tensors = [*each.images.tensors, *each.masks]
        assert {tensor.untyped_storage().data_ptr() for tensor in tensors} <= pinned
