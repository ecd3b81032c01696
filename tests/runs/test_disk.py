"""A disk that is full or read-only costs no saved state, and is told in one message with the file and the way out."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from segzoo.errors import RunDirectoryError, SegzooError, TrainingError
from segzoo.recipe import load_recipe, recipe_json
from segzoo.runs.checkpoint import load_checkpoint
from segzoo.runs.disk import FULL, explain_folder, explain_write
from segzoo.runs.rundir import RunDirectory
from segzoo.training.finetune import finetune

# Two epochs of two steps, each of them saved, with an optimizer that keeps nothing.
SMALL = (
    "data.size=[48,48]",
    "data.image_size=[48,48]",
    'data.counts={"train":8,"val":2}',
    "train.batch_size=4",
    "train.epochs=2",
    "train.checkpoint_every_steps=1",
    "train.threads=1",
    "train.workers=0",
    'optimizer={"name":"sgd","lr":0.01,"momentum":0}',
)

SIZE = "48m"
LITTLE = 2**16
"""Bytes: enough for a record, not for a checkpoint."""


def mount(folder: Path, options: str) -> bool:
    """Mount a file system in memory, and return whether that is allowed here."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def unmount(folder: Path) -> None:
    """Undo a mount."""
    subprocess.run(["umount", str(folder)], check=True)


class Disk(NamedTuple):
    """Where a run lies that the disk will be too small for.

    Args:
        folder: A folder on it.
        ballast: The file that fills it; None where nothing can be mounted and the size of files is limited instead.
    """

    folder: Path
    ballast: str | None

    def free(self) -> None:
        """Give the space back."""
        if self.ballast is not None:
            Path(self.ballast).unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Return a small disk."""
    folder = tmp_path / "disk"
    if mount(folder, f"size={SIZE}"):
        yield Disk(folder, str(folder / "ballast"))
        unmount(folder)
    else:
        yield Disk(folder, None)


class Whole(NamedTuple):
    """A run that had room enough."""

    recipe: Path
    folder: Path


@pytest.fixture(scope="module")
def whole(chains: Any, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return a whole run."""
    folder = tmp_path_factory.mktemp("whole")
    recipe = folder / "recipe.json"
    recipe.write_text(recipe_json(load_recipe("quickstart", SMALL)))
    chains.train(recipe, folder / "run", "end")
    return Whole(recipe, folder / "run")


def steps_of(run: Path) -> int:
    """Return how many steps a run has saved."""
    saved = load_checkpoint(run / "checkpoints")
    return 0 if saved is None else int(saved["state"]["step"])


@pytest.mark.parametrize(
    ("count", "room", "file", "steps"),
    [
        pytest.param(2, 0, "run.json", 0, id="record", marks=pytest.mark.slow),
        pytest.param(3, 0, "recipe.json", 0, id="recipe", marks=pytest.mark.slow),
        pytest.param(6, LITTLE, "checkpoints/last.pt", 0, id="first checkpoint", marks=pytest.mark.slow),
        pytest.param(7, 0, "figures/learning/0001.png", 1, id="frame", marks=pytest.mark.slow),
        pytest.param(8, LITTLE, "model/model.safetensors", 1, id="weights", marks=pytest.mark.slow),
        pytest.param(10, 0, "metrics.jsonl", 1, id="line", marks=pytest.mark.slow),
        pytest.param(11, LITTLE, "checkpoints/last.pt", 1, id="end of an epoch"),
        pytest.param(12, 0, "checkpoints/last.pt", 2, id="inside an epoch", marks=pytest.mark.slow),
        pytest.param(20, 0, "figures/curves.png", 4, id="curves", marks=pytest.mark.slow),
        pytest.param(24, LITTLE, "report.html", 4, id="report", marks=pytest.mark.slow),
    ],
)
def test_full_disk_costs_no_saved_state(
    chains: Any, whole: Whole, disk: Disk, count: int, room: int, file: str, steps: int
) -> None:
    """One message, exit 1, what was saved is whole; once there is room again the run ends with the same bits."""
    out = disk.folder / "run"

    ended = chains.stop(whole.recipe, out, f"full:{count}:{room}", fill=disk.ballast)

    assert ended.code == 1, ended.told
    assert ended.told.count("error: ") == 1
    message = ended.told.splitlines()[-1]
    assert message.startswith(f"error: {out / file} cannot be written: ")
    assert FULL[errno.EFBIG if disk.ballast is None else errno.ENOSPC] in message
    assert message.endswith("then --resume")
    assert steps_of(out) == steps
    if room:
        record = RunDirectory(out).record()
        assert record is not None
        assert record.status == "failed"
        assert f"error: {record.error}" == message

    disk.free()
    chains.train(whole.recipe, out, "end")
    chains.assert_same(whole.folder, out)
    assert "The run finished" in (out / "report.html").read_text()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that takes nothing new."""
    folder = tmp_path / "locked"
    if os.geteuid() != 0:
        folder.mkdir(mode=0o555)
        yield folder
    elif mount(folder, "ro"):
        yield folder
        unmount(folder)
    else:
        pytest.skip("root writes everywhere, and nothing can be mounted here")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", [".", "run", "runs/run"])
def test_read_only_folder_is_refused(read_only: Path, name: str, resume: bool) -> None:
    """Exit 2 before torch is asked for anything, with the folder and another way."""
    out = read_only / name
    with pytest.raises(RunDirectoryError, match=rf"^{out} cannot be made or written to: .*; choose another --out$"):
        finetune(load_recipe("quickstart", SMALL), out=out, device="cpu", resume=resume)
    assert list(read_only.iterdir()) == []


@pytest.mark.parametrize("resume", [False, True])
def test_folder_that_may_not_be_entered_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    """Exit 2 where nobody can tell whether there is a run."""
    locked, status = tmp_path / "locked", Path.stat

    def deny(path: Path, **options: bool) -> os.stat_result:
        if locked in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return status(path, **options)

    monkeypatch.setattr(Path, "stat", deny)
    with pytest.raises(RunDirectoryError, match="cannot be made or written to: Permission denied; choose another"):
        finetune(load_recipe("quickstart", SMALL), out=locked / "run", device="cpu", resume=resume)


def test_run_that_became_read_only_is_refused(tmp_path: Path, runs: Any) -> None:
    """What lies on a disk that is now read-only is not resumed, and stays as it is."""
    folder = tmp_path / "disk"
    if not mount(folder, "size=1m"):
        pytest.skip("nothing can be mounted here")
    try:
        runs.leave(folder / "run", status="interrupted")
        before = runs.contents(folder)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(RunDirectoryError, match=r"cannot be made or written to: Read-only file system"):
            runs.begin(folder / "run", resume=True)
        assert runs.contents(folder) == before
    finally:
        unmount(folder)


def test_no_room_for_the_folder_is_no_usage_fault(tmp_path: Path) -> None:
    """Where not even an empty directory fits, the exit code is 1 and nothing is left behind."""
    folder = tmp_path / "disk"
    if not mount(folder, "nr_inodes=2"):
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(TrainingError, match="no space left on the device; free some space, or choose another"):
            finetune(load_recipe("quickstart", SMALL), out=folder / "run", device="cpu")
        assert list(folder.iterdir()) == []
    finally:
        unmount(folder)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "run/metrics.jsonl"), "run/metrics.jsonl .* no space left"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "/tmp/x .* no space left .* free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "run cannot be written: the disk quota is used up"),
        (OSError(errno.EROFS, "Read-only file system", "run/run.json"), "run/run.json .*: Read-only file system. What"),
        (OSError(errno.EIO, "Input/output error", "run/report.html"), "report.html .* see to it that it can be"),
        (OSError(errno.ENOENT, "No such file or directory", "data/a.png"), None),
        (OSError(errno.ECONNREFUSED, "Connection refused"), None),
        (OSError("no errno"), None),
    ],
)
def test_faults_of_the_disk_in_words(error: OSError, told: str | None) -> None:
    """The file, the reason and the way out; what happened outside the run is not taken for it."""
    found = explain_write(error, Path("run"))
    if told is None:
        assert found is None
    else:
        assert found is not None
        with pytest.raises(TrainingError, match=told):
            raise found


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 1), (errno.EROFS, 2), (errno.EACCES, 2)])
def test_folder_exit_codes(number: int, code: int) -> None:
    """No room is the machine's fault, a folder that takes nothing the command's."""
    found: SegzooError = explain_folder(OSError(number, os.strerror(number)), Path("run"))
    assert found.exit_code == code
