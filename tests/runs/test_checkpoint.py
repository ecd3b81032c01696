"""A checkpoint is whole or noticed: no damage is loaded, and no failure while saving takes the last good one."""

from __future__ import annotations

import errno
import logging
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segzoo.build import create_model
from segzoo.errors import RunDirectoryError, UsageFault
from segzoo.files import sha256_bytes
from segzoo.runs.checkpoint import (
    BEST,
    LAST,
    MARK,
    PREVIOUS,
    DamagedCheckpoint,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)


def state(step: int) -> dict[str, Any]:
    """Return what a run saves, filled with the step so that mixtures show."""
    return {
        "model": {"weight": torch.full((500,), float(step)), "count": torch.tensor(step)},
        "state": {"step": step, "best": {"row": {"mean_iou": 0.5, "lr": {"head": 0.1}}, "matrix": torch.eye(3).long()}},
        "environment": {"device": "cpu", "threads": 2},
    }


def save(folder: Path, step: int, *, best: bool = False) -> None:
    """Save the state of a step."""
    save_checkpoint(folder, state(step), best=best)


def step_of(saved: dict[str, Any] | None) -> int:
    """Return the step of a state after looking at all of it."""
    assert saved is not None
    step: int = saved["state"]["step"]
    assert torch.equal(saved["model"]["weight"], torch.full((500,), float(step)))
    return step


def test_round_trip(tmp_path: Path) -> None:
    """Tensors come back with their bits and types, an optimizer's state with its groups, and plain values as such."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW([{"params": model.parameters(), "part": "head", "scale": 0.1}])
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rest": state(7)}

    save_checkpoint(tmp_path, saved, best=False)
    loaded = load_checkpoint(tmp_path)

    assert loaded is not None
    torch.testing.assert_close(loaded["model"], dict(saved["model"]), rtol=0, atol=0)
    torch.testing.assert_close(loaded["optimizer"]["state"], saved["optimizer"]["state"], rtol=0, atol=0)
    assert loaded["optimizer"]["param_groups"] == saved["optimizer"]["param_groups"]
    assert loaded["rest"]["environment"] == saved["rest"]["environment"]
    best = loaded["rest"]["state"]["best"]
    assert best["row"] == saved["rest"]["state"]["best"]["row"]
    assert torch.equal(best["matrix"], torch.eye(3).long())
    assert best["matrix"].dtype == torch.int64


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    """A run that has not saved yet starts from nothing."""
    assert load_checkpoint(tmp_path) is None


def test_last_previous_and_best(tmp_path: Path) -> None:
    """The newest is the last, the one before is kept, the best stays until there is a better one; nothing else does."""
    save(tmp_path, 1, best=True)
    save(tmp_path, 2)
    save(tmp_path, 3)
    assert [step_of(read_checkpoint(tmp_path / name)) for name in (LAST, PREVIOUS, BEST)] == [3, 2, 1]
    assert step_of(load_checkpoint(tmp_path)) == 3

    save(tmp_path, 4, best=True)
    save(tmp_path, 5)

    assert [step_of(read_checkpoint(tmp_path / name)) for name in (LAST, PREVIOUS, BEST)] == [5, 4, 4]
    assert {path.name for path in tmp_path.iterdir()} == {LAST, PREVIOUS, BEST}


def test_torch_opens_the_file_as_it_is(tmp_path: Path) -> None:
    """Who has torch but no segzoo reads a checkpoint with ``torch.load(path, weights_only=True)``."""
    save(tmp_path, 3)

    assert step_of(torch.load(tmp_path / LAST, weights_only=True)) == 3


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the checkpoints of the first two steps of a model."""
    folder = tmp_path_factory.mktemp("real")
    model = create_model("fast_scnn", num_classes=5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in (1, 2):
        model(torch.ones(2, 3, 64, 64)).sum().backward()
        optimizer.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": {"step": step}}
        save_checkpoint(folder, state, best=False)
    return folder


def assert_falls_back(folder: Path, caplog: pytest.LogCaptureFixture, fault: str) -> None:
    """Check that the last checkpoint is refused by name, and the previous one used with a warning."""
    caplog.clear()
    with pytest.raises(DamagedCheckpoint, match=rf"{LAST}: {fault}"):
        read_checkpoint(folder / LAST)
    saved = load_checkpoint(folder)
    assert saved is not None
    assert saved["state"]["step"] == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"going on from {PREVIOUS}" in caplog.text


def test_every_flipped_bit_is_noticed(real: Path, caplog: pytest.LogCaptureFixture) -> None:
    """None of 100 files with one wrong bit anywhere, checksum included, is taken for whole."""
    path = real / LAST
    size = path.stat().st_size
    draw = random.Random(0)
    places = [0, size - 80, size - 1, *(draw.randrange(size) for _ in range(97))]

    with path.open("r+b") as file:
        for place in places:
            mask = 1 << draw.randrange(8)
            for damaged in (True, False):
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ mask]))
                file.flush()
                if damaged:
                    assert_falls_back(real, caplog, "(no checksum ends|its content does not match)")

    assert read_checkpoint(path)["state"]["step"] == 2


def test_every_truncation_is_noticed(real: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An emptied file, one that lacks its last byte, and 18 between are refused with their length."""
    path = real / LAST
    whole = path.read_bytes()
    draw = random.Random(0)
    lengths = [0, 1, 78, 79, 80, len(whole) - 80, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(13))]

    for length in lengths:
        path.write_bytes(whole[:length])
        assert_falls_back(real, caplog, f"no checksum ends its {length} bytes")
    path.write_bytes(whole)

    assert read_checkpoint(path)["state"]["step"] == 2


def test_appended_bytes_are_noticed(tmp_path: Path) -> None:
    """A file that grew is not what was written, either."""
    save(tmp_path, 1)
    path = tmp_path / LAST
    path.write_bytes(path.read_bytes() + b"\0")

    with pytest.raises(DamagedCheckpoint):
        read_checkpoint(path)


def flip(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(b"")], ids=["flipped", "emptied"])
def test_damaged_last_falls_back_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    """The one before is used, and the log says which file is damaged and which is used."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path / LAST)

    with caplog.at_level(logging.WARNING):
        assert step_of(load_checkpoint(tmp_path)) == 1

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"damaged checkpoint {tmp_path / LAST}" in caplog.text
    assert f"going on from {PREVIOUS}" in caplog.text


def test_whole_checkpoint_is_loaded_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged previous one does not matter as long as the last is whole."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    flip(tmp_path / PREVIOUS)

    assert step_of(load_checkpoint(tmp_path)) == 2
    assert not caplog.records


def test_both_damaged_is_an_error_that_names_them(tmp_path: Path) -> None:
    """Nothing is loaded from damaged files; the message holds both paths and the way out, the exit code is 2."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    flip(tmp_path / LAST)
    (tmp_path / PREVIOUS).write_bytes(b"")

    with pytest.raises(RunDirectoryError, match="no usable checkpoint") as caught:
        load_checkpoint(tmp_path)

    message = str(caught.value)
    assert f"{tmp_path / LAST}: its content does not match its checksum" in message
    assert f"{tmp_path / PREVIOUS}: no checksum ends its 0 bytes" in message
    assert "--overwrite" in message
    assert caught.value.exit_code == 2


def test_damaged_best_is_a_fault_with_its_name(tmp_path: Path) -> None:
    """Who reads one file by name gets a message for users, not a traceback."""
    save(tmp_path, 1, best=True)
    (tmp_path / BEST).write_bytes((tmp_path / BEST).read_bytes()[:-7])

    with pytest.raises(UsageFault, match=f"damaged checkpoint {tmp_path / BEST}: "):
        read_checkpoint(tmp_path / BEST)


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("variable", ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD"])
def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A pickle with code and a right checksum is refused by name, whatever torch's environment says."""
    monkeypatch.setenv(variable, "1")
    path, mark = tmp_path / LAST, tmp_path / "executed"
    torch.save({"model": Evil(mark)}, path)
    payload = path.read_bytes()
    path.write_bytes(payload + MARK + sha256_bytes(payload).encode())

    with pytest.raises(DamagedCheckpoint, match=r"last\.pt: it holds no plain tensors"):
        read_checkpoint(path)

    assert not mark.exists()


CALLS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "fsync": (os, os.fsync),
    "link": (os, os.link),
    "replace": (Path, Path.replace),
    "unlink": (Path, Path.unlink),
}


class FullDisk:
    """Lets one call to the disk fail; those before it and after it work.

    Args:
        number: Which call, from 0.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._calls = 0

    @property
    def failed(self) -> bool:
        """Whether there were as many calls."""
        return self._calls > self._number

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that counts as one of the calls."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls += 1
            if self._calls == self._number + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        return call


@pytest.mark.parametrize("damaged", [False, True], ids=["after a whole last", "after a damaged last"])
def test_a_failure_at_any_call_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """Whichever call to the disk fails, old or new state is whole, best fits what is loaded, and saving goes on."""
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        save(folder, 1, best=True)
        save(folder, 2)
        if damaged:
            flip(folder / LAST)
        disk = FullDisk(number)
        with monkeypatch.context() as patch:
            for name, (owner, real) in CALLS.items():
                patch.setattr(owner, name, disk.wrap(real))
            with suppress(OSError):
                save(folder, 3, best=True)
        if not disk.failed:
            break

        step = step_of(load_checkpoint(folder))
        assert step in ((1, 3) if damaged else (2, 3))
        assert step_of(read_checkpoint(folder / BEST)) in ((3,) if step == 3 else (1, 3))
        save(folder, 4)
        assert step_of(load_checkpoint(folder)) == 4
        assert {path.name for path in folder.iterdir()} == {LAST, PREVIOUS, BEST}
    assert number >= 6, "the calls were not the ones that save"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let every write beyond ``size`` bytes of a file fail, for this process and as long as the block runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_breaks_off_changes_nothing(tmp_path: Path) -> None:
    """Where the file system takes only a part of the new state, the error is raised and all files stay as they were."""
    save(tmp_path, 1, best=True)
    save(tmp_path, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(OSError, match="File too large"), largest_file(len(before[LAST]) - 1000):
        save(tmp_path, 3, best=True)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_killed_processes_left_is_cleared_away(tmp_path: Path) -> None:
    """Unfinished temporary files, each as large as a checkpoint, do not pile up from kill to kill."""
    (tmp_path / f".{LAST}.abcd.partial").write_bytes(b"half")
    (tmp_path / "best.partial").write_bytes(b"half")

    save(tmp_path, 1, best=True)

    assert {path.name for path in tmp_path.iterdir()} == {LAST, BEST}


KILL_IN_A_LOOP = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from segzoo.runs.checkpoint import BEST, load_checkpoint, read_checkpoint, save_checkpoint

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)

def check():
    saved = load_checkpoint(folder)
    if saved is None:
        return 0
    assert (saved["tensor"] == saved["step"]).all()
    return saved["step"]

def train(pipe):
    for step in range(check() + 1, 10**9):
        state = {"step": step, "tensor": torch.full((50_000,), float(step)), "best": step - step % 3}
        save_checkpoint(folder, state, best=step % 3 == 0)
        os.write(pipe, step.to_bytes(8, "big"))

draw = random.Random(0)
for kill in range(kills):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            train(write)
        finally:
            os._exit(1)
    os.close(write)
    told = os.read(read, 8)  # the first save is done
    time.sleep(draw.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    steps = told
    while chunk := os.read(read, 2**16):
        steps += chunk
    os.close(read)
    acknowledged = int.from_bytes(steps[-8:], "big")
    found = check()
    assert found in (acknowledged, acknowledged + 1), (found, acknowledged)
    saved = load_checkpoint(folder)
    if saved["best"]:
        # A best one may be newer than the last, never older than the last says.
        assert read_checkpoint(folder / BEST)["step"] in (saved["best"], found + 1)
print(found)
"""


def test_killed_while_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """Twenty SIGKILLs, each on the process that went on from the last: no saved step is lost, none is half."""
    done = subprocess.run(
        [sys.executable, "-c", KILL_IN_A_LOOP, str(tmp_path), "20"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 20
    assert "damaged" not in done.stderr
