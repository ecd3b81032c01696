"""Files give tensors by name, or a reason; nothing in them is executed."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from segzoo.errors import UsageFault
from segzoo.weights.files import TORCH_LEGACY, read_tensors

GOOD = {"conv.weight": torch.rand(2, 3), "norm.num_batches_tracked": torch.tensor(7)}


def torch_file(content: object, *, legacy: bool = False) -> bytes:
    """Return what ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(autouse=True)
def _unpickling_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what makes ``torch.load`` unpickle everything, unless it is told not to."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


@pytest.mark.parametrize(
    "content",
    [
        save(GOOD),
        torch_file(GOOD),
        torch_file(GOOD, legacy=True),
        torch_file({"state_dict": GOOD, "epoch": 3, "arch": "tiny"}),
        torch_file({"model": GOOD, "optimizer": {"state": {}}}),
        torch_file({f"module.{name}": tensor for name, tensor in GOOD.items()}),
        torch_file({"model": {f"module.{name}": tensor for name, tensor in GOOD.items()}}),
        torch_file({name: nn.Parameter(tensor, requires_grad=False) for name, tensor in GOOD.items()}),
    ],
)
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_tensors_come_back_as_they_were_saved(tmp_path: Path, content: bytes, name: str) -> None:
    """Whatever wrote the file, and whatever it is called."""
    (tmp_path / name).write_bytes(content)

    read = read_tensors(tmp_path / name)

    assert read.keys() == GOOD.keys()
    assert all(torch.equal(read[key], tensor) and read[key].dtype == tensor.dtype for key, tensor in GOOD.items())


def test_the_mark_of_older_files_is_torchs() -> None:
    """Files from before torch 1.6 are known by the number that torch writes first."""
    assert torch_file(GOOD, legacy=True).startswith(TORCH_LEGACY)
    assert pickle.loads(TORCH_LEGACY) == torch.serialization.MAGIC_NUMBER


def pickles(payload: Payload) -> Iterator[Any]:
    """Yield files that run code when they are unpickled."""
    yield torch_file({"weight": payload})
    yield torch_file({"weight": payload}, legacy=True)
    yield torch_file(payload)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.dumps({"weight": payload}, protocol=protocol)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("kind", range(3 + pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_file_never_runs(tmp_path: Path, name: str, kind: int) -> None:
    """A pickle with code is refused under any name, whatever the environment says."""
    trap = tmp_path / "trap"
    (tmp_path / name).write_bytes(list(pickles(Payload(trap)))[kind])

    with pytest.raises(UsageFault, match=f"{name} cannot be read") as caught:
        read_tensors(tmp_path / name)

    assert not trap.exists()
    for advice in ("weights_only", "trust", "add_safe_globals"):
        assert advice not in str(caught.value)


def test_the_trap_works(tmp_path: Path) -> None:
    """The payload of the test above does leave a trace where it is unpickled."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "trap")))
    assert (tmp_path / "trap").exists()


def test_the_forbidden_object_is_named(tmp_path: Path) -> None:
    """Whoever saved a whole module learns what stands in the way."""
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")

    with pytest.raises(UsageFault, match=r"a pickle of more than tensors \(torch\.nn\.modules\.linear\.Linear\)"):
        read_tensors(tmp_path / "module.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty, as neither safetensors nor torch files do"),
        (b"<!DOCTYPE html>", "it begins with b'<!DOCTYP', as neither"),
        (save(GOOD)[:-1], "incomplete metadata, file not fully covered"),
        (save(GOOD)[:40], "invalid header length"),
        (save(GOOD)[:8], "it begins with b"),
        (b"\xff" * 8 + save(GOOD)[8:], "header too large"),
        (torch_file(GOOD)[:300], "failed finding central directory"),
        (torch_file(GOOD, legacy=True)[:-10], "unexpected EOF"),
        (torch_file(GOOD, legacy=True)[:40], "it ends too early"),
        (torch_file([torch.rand(2)]), "does not hold tensors by name"),
        (torch_file({"epoch": 3}), "does not hold tensors by name"),
        (torch_file({0: torch.rand(2)}), "does not hold tensors by name"),
        (torch_file({"model": GOOD, "state_dict": GOOD}), "does not hold tensors by name"),
        (torch_file({"net": GOOD}), "under one of state_dict and model"),
        (torch_file({}), "holds no tensors"),
        (torch_file({"w": torch.rand(2, 2).to_sparse_coo()}), "w is no dense tensor of numbers, but sparse_coo"),
        (torch_file({"w": torch.rand(2, device="meta")}), "w is no dense tensor of numbers"),
        (torch_file({"w": torch.rand(2, dtype=torch.complex64)}), "w is no dense tensor of numbers, but complex64"),
        (torch_file({"w": torch.rand(2).to(torch.float8_e5m2)}), "w is no dense tensor of numbers, but float8_e5m2"),
        (save({"w": torch.tensor([1.0, float("nan")])}), "w holds values that are not finite"),
        (save({"w": torch.tensor([1.0, float("-inf")], dtype=torch.float16)}), "w holds values that are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """The message has the file's name, and what is wrong with it or with which tensor."""
    (tmp_path / "a.pth").write_bytes(content)

    with pytest.raises(UsageFault) as caught:
        read_tensors(tmp_path / "a.pth")

    assert str(caught.value).startswith("a.pth")
    assert message in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder with a file's name is told as such."""
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(UsageFault, match=r"a\.safetensors cannot be read: Is a directory"):
        read_tensors(tmp_path / "a.safetensors")


def test_a_prefix_of_some_names_only_is_kept(tmp_path: Path) -> None:
    """``module.`` is taken off where it was put on: before every name."""
    tensors: dict[str, Tensor] = {"module.a": torch.rand(2), "b": torch.rand(2)}
    torch.save(tensors, tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth").keys() == tensors.keys()
