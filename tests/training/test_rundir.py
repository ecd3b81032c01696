"""A run directory is one process's at a time, fits its recipe, and nobody else's files are ever deleted."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from segzoo.errors import (
    DataError,
    DeviceError,
    Interrupted,
    RunDirectoryError,
    UsageFault,
)
from segzoo.recipe import Recipe, load_recipe, recipe_json
from segzoo.recipe.overrides import apply_overrides
from segzoo.training.rundir import DataRecord, RunDirectory, RunRecord, is_complete, now, open_run

HOLD = """
import os, sys, time
from pathlib import Path
from segzoo.recipe import load_recipe
from segzoo.training.rundir import open_run
with open_run(Path(sys.argv[1]), load_recipe(Path(sys.argv[2])), resume=False, overwrite=False) as run:
    child = os.fork() if "with-child" in sys.argv else -1
    if child <= 0:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


RECIPE = {
    "recipe_version": 1,
    "name": "shapes",
    "model": {"name": "segzoo/fast_scnn"},
    "data": {"format": "shapes"},
    "augment": [{"name": "HorizontalFlip", "p": 0.5}],
    "optimizer": {"name": "adamw", "lr": 0.003},
    "train": {"epochs": 12},
}


def recipe(*changes: str) -> Recipe:
    """Return a recipe with some changes."""
    return Recipe.model_validate_json(json.dumps(apply_overrides(copy.deepcopy(RECIPE), changes)))


def record(**changes: Any) -> RunRecord:
    """Return the record of a run."""
    fields: dict[str, Any] = {
        "started": now(),
        "updated": now(),
        "argv": ["segzoo", "finetune"],
        "seed": 0,
        "versions": {"torch": "2.11"},
        "machine": {"platform": "Linux", "processor": "", "cpus": 2, "memory_bytes": None, "gpus": []},
        "git": None,
        "plugins": [],
        "recipe_sha256": "0" * 64,
    }
    return RunRecord(**fields | changes)


def train(folder: Path, *changes: str, status: str = "finished") -> RunDirectory:
    """Leave a run of the recipe behind."""
    with open_run(folder, recipe(*changes), resume=False, overwrite=False) as run:
        run.begin(recipe(*changes), record(status=status), overwrite=False)
        run.append_row({"epoch": 1})
        (run.checkpoints / "last.pt").write_bytes(b"state")
    return run


def open_again(folder: Path, *changes: str, resume: bool = False, overwrite: bool = False) -> RunDirectory:
    """Begin a run in the directory and leave it at once."""
    with open_run(folder, recipe(*changes), resume=resume, overwrite=overwrite) as run:
        run.begin(recipe(*changes), record(), overwrite=overwrite)
        return run


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file beneath a folder but the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@contextmanager
def held(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Let another process hold a run directory; return it, and the id of the child it forked if it was asked to."""
    path = folder.with_suffix(".json")
    path.write_text(recipe_json(recipe()))
    command = [sys.executable, "-c", HOLD, str(folder), str(path), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            yield holder, int(holder.stdout.readline())
        finally:
            holder.kill()


def test_new_run_has_its_folders_and_recipe(tmp_path: Path) -> None:
    """The directory and its parents are made, and the recipe in it is the one that runs."""
    folder = tmp_path / "runs" / "a"
    run = open_again(folder, "train.seed=3")

    assert {path.name for path in run.contents()} == {"recipe.json", "run.json", "checkpoints", "model", "figures"}
    assert load_recipe(run.recipe_path) == recipe("train.seed=3")


def test_existing_run_is_refused(tmp_path: Path) -> None:
    """Without a wish nothing is touched, and the message has the three ways out."""
    train(tmp_path / "a")
    before = contents(tmp_path)

    with pytest.raises(RunDirectoryError, match=r"exists; pass --resume .*, --overwrite .*, or choose another --out"):
        open_again(tmp_path / "a")

    assert contents(tmp_path) == before


def test_resume_keeps_everything(tmp_path: Path) -> None:
    """What the run has written is still there, and the directory now holds the changed recipe."""
    run = train(tmp_path / "a")

    open_again(tmp_path / "a", "train.workers=2", resume=True)

    assert (run.checkpoints / "last.pt").read_bytes() == b"state"
    assert run.rows() == [{"epoch": 1}]
    assert load_recipe(run.recipe_path) == recipe("train.workers=2")


def test_resume_without_a_directory_starts(tmp_path: Path) -> None:
    """``--resume`` is safe to pass always."""
    assert open_again(tmp_path / "a", resume=True).recipe_path.exists()


def test_overwrite_deletes_the_run_and_nothing_outside(tmp_path: Path) -> None:
    """The old run's files go, notes in it too; what a link in it points to stays."""
    run = train(tmp_path / "a")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "photo.jpg").touch()
    (run.folder / "data").symlink_to(tmp_path / "data")
    (run.folder / "notes.txt").touch()

    open_again(tmp_path / "a", "train.seed=1", overwrite=True)

    assert sorted(contents(run.folder)) == ["recipe.json", "run.json"]
    assert (tmp_path / "data" / "photo.jpg").exists()


def test_resume_and_overwrite_contradict(tmp_path: Path) -> None:
    """Both wishes together are refused, and the run stays."""
    train(tmp_path / "a")
    before = contents(tmp_path)

    with pytest.raises(RunDirectoryError, match="--resume and --overwrite contradict each other"):
        open_again(tmp_path / "a", resume=True, overwrite=True)

    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "files",
    [
        ["photo.jpg"],
        ["recipe.json"],
        ["recipe.json", "model/weights.pt", "checkpoints/x", "figures/y"],
        ["run.json", "photo.jpg"],
        ["model/weights.pt"],
        ["model"],
        [".recipe.json.abc.partial", "photo.jpg"],
    ],
    ids=str,
)
@pytest.mark.parametrize(("resume", "overwrite"), [(False, False), (True, False), (False, True)])
def test_a_directory_that_is_no_run_is_left_alone(
    tmp_path: Path, files: list[str], resume: bool, overwrite: bool
) -> None:
    """Names that a run has too do not make a run: nothing is written there, and nothing is ever deleted."""
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(name))
    before = {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")}

    with pytest.raises(RunDirectoryError, match=f"{tmp_path} is not a run directory: it holds .* Nothing was changed"):
        open_again(tmp_path, resume=resume, overwrite=overwrite)

    assert {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(("resume", "overwrite"), [(False, False), (True, False), (False, True)])
def test_a_run_killed_before_its_record_is_no_obstacle(tmp_path: Path, resume: bool, overwrite: bool) -> None:
    """A lock and an unfinished record are all that such a kill leaves; the run can start."""
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.abc.partial").write_text("{")

    assert open_again(tmp_path, resume=resume, overwrite=overwrite).recipe_path.exists()


@pytest.mark.parametrize(("resume", "overwrite"), [(True, False), (False, True)])
def test_a_run_killed_while_it_began_is_no_obstacle(tmp_path: Path, resume: bool, overwrite: bool) -> None:
    """The record is written first and deleted last, so that what a kill leaves is known to be a run."""
    run = train(tmp_path / "a")
    for path in (run.recipe_path, run.metrics_path):
        path.unlink()

    assert open_again(tmp_path / "a", resume=resume, overwrite=overwrite).recipe_path.exists()


@pytest.mark.parametrize("name", ["file", "file/run", "link"])
def test_a_file_in_the_way_is_named(tmp_path: Path, name: str) -> None:
    """A file of the directory's name, one above it, and a link to nowhere are refused and stay as they are."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    for overwrite in (False, True):
        with pytest.raises(RunDirectoryError, match=rf"{tmp_path / name} (is a file|cannot be made)"):
            open_again(tmp_path / name, overwrite=overwrite)

    assert (tmp_path / "file").read_text() == "text"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(("resume", "overwrite"), [(False, False), (True, False), (False, True)])
def test_second_process_is_refused_until_the_first_is_killed(tmp_path: Path, resume: bool, overwrite: bool) -> None:
    """While one process holds the directory no wish opens it, and nothing in it changes; SIGKILL frees it at once."""
    folder = tmp_path / "a"
    with held(folder) as (holder, _):
        before, begin = contents(folder), time.monotonic()
        with pytest.raises(RunDirectoryError, match="is in use by another"):
            open_again(folder, resume=resume, overwrite=overwrite)
        assert time.monotonic() - begin < 2
        assert contents(folder) == before
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        open_again(folder, resume=resume, overwrite=overwrite)


def test_second_command_ends_within_seconds(tmp_path: Path) -> None:
    """``finetune`` on a directory in use exits 2 with its name, before torch would be there."""
    folder = tmp_path / "a"
    command = [sys.executable, "-m", "segzoo", "finetune", "quickstart", "--out", str(folder), "--resume"]
    with held(folder):
        begin = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert time.monotonic() - begin < 5
    assert done.returncode == 2
    assert f"error: {folder} is in use by another segzoo process" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_surviving_child_does_not_hold_the_directory(tmp_path: Path) -> None:
    """Processes that load data outlive a killed run for seconds; it can be resumed at once all the same."""
    with held(tmp_path / "a", "with-child") as (holder, child):
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        try:
            os.kill(child, 0)  # still there
            open_again(tmp_path / "a", resume=True)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("train.seed=5", "train.seed was 0 and is now 5"),
        ("optimizer.lr=0.1", "optimizer.lr was 0.003 and is now 0.1"),
        ("model.name=segnet", 'model.name was "segzoo/fast_scnn" and is now "segnet"'),
        ('augment=[{"name": "VerticalFlip"}]', 'augment.0.name was "HorizontalFlip" and is now "VerticalFlip"'),
        ("train.epochs=11", "train.epochs was 12 and is now 11"),
        ("train.max_steps=5", "train.max_steps was null and is now 5"),
    ],
)
def test_resume_needs_the_same_recipe(tmp_path: Path, change: str, told: str) -> None:
    """Another recipe is refused with the path and both values, and the run keeps its own."""
    run = train(tmp_path / "a")
    before = contents(tmp_path)

    with pytest.raises(RunDirectoryError) as caught:
        open_again(tmp_path / "a", change, resume=True)

    assert told in str(caught.value)
    assert "only train.workers may change and train.epochs, train.max_steps grow" in str(caught.value)
    assert contents(tmp_path) == before
    assert load_recipe(run.recipe_path) == recipe()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("train.workers=0", "train.workers=3"),
        ("train.workers=3", "train.workers=0"),
        ("train.epochs=12", "train.epochs=13"),
        ("train.max_steps=5", "train.max_steps=6"),
        ("train.max_steps=5", "train.max_steps=null"),
    ],
)
def test_workers_may_change_and_the_run_may_grow(tmp_path: Path, before: str, after: str) -> None:
    """None of these moves a weight of the steps that are done."""
    train(tmp_path / "a", before)

    open_again(tmp_path / "a", after, resume=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [("train.max_steps=5", "train.max_steps=4"), ("train.epochs=2", "train.epochs=1")],
)
def test_the_run_may_not_shrink(tmp_path: Path, before: str, after: str) -> None:
    """Steps that were trained cannot be taken back."""
    train(tmp_path / "a", before)

    with pytest.raises(RunDirectoryError, match=after.split("=")[0]):
        open_again(tmp_path / "a", after, resume=True)


def test_damaged_recipe_is_named(tmp_path: Path) -> None:
    """A run whose recipe cannot be read is neither resumed nor changed."""
    run = train(tmp_path / "a")
    run.recipe_path.write_text("{")

    with pytest.raises(RunDirectoryError, match=r"the run's recipe cannot be read: .*recipe\.json"):
        open_again(tmp_path / "a", resume=True)

    assert run.recipe_path.read_text() == "{"


def fail(folder: Path, error: Exception, **wishes: bool) -> None:
    """Open a directory and fail before the run begins."""

    def attempt() -> None:
        with open_run(folder, recipe(), **({"resume": False, "overwrite": False} | wishes)):
            raise error

    with pytest.raises(type(error)):
        attempt()


@pytest.mark.parametrize("error", [DataError("x"), DeviceError("x"), Interrupted(signal.SIGINT, "x"), ValueError("x")])
def test_a_fault_before_the_run_begins_leaves_no_directory(tmp_path: Path, error: Exception) -> None:
    """The next attempt needs neither ``--resume`` nor ``--overwrite``."""
    fail(tmp_path / "a", error)

    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_was_there_stays(tmp_path: Path) -> None:
    """An empty directory that the user made is not removed."""
    fail(tmp_path, UsageFault("x"))

    assert tmp_path.exists()
    assert contents(tmp_path) == {}
    open_again(tmp_path)


@pytest.mark.parametrize("wish", ["resume", "overwrite"])
def test_a_fault_before_the_run_begins_keeps_the_run_that_was_there(tmp_path: Path, wish: str) -> None:
    """A typo costs nothing: ``--overwrite`` deletes once nothing is left that could be refused."""
    train(tmp_path / "a")
    before = contents(tmp_path)

    fail(tmp_path / "a", DataError("x"), **{wish: True})

    assert contents(tmp_path) == before


def test_directory_is_free_after_a_fault(tmp_path: Path) -> None:
    """A process that was refused can try again."""
    for _ in range(2):
        fail(tmp_path / "a", UsageFault("x"))
    open_again(tmp_path / "a")


def test_rows_are_read_as_written(tmp_path: Path) -> None:
    """Each epoch is one line, numbers come back exactly, and NaN is refused before it is written."""
    run = open_again(tmp_path / "a")
    rows = [{"epoch": epoch, "mean_iou": epoch / 3, "per_class_iou": {"Straße": None}} for epoch in (1, 2)]
    assert run.rows() == []

    for row in rows:
        run.append_row(row)
    with pytest.raises(ValueError, match="JSON compliant"):
        run.append_row({"epoch": 3, "mean_iou": float("nan")})

    assert run.rows() == rows
    assert len(run.metrics_path.read_text().splitlines()) == 2


def test_cut_off_last_line_is_left_out(tmp_path: Path) -> None:
    """A kill in the middle of a write loses that line only, and the next line does not stick to its rest."""
    run = open_again(tmp_path / "a")
    for epoch in (1, 2):
        run.append_row({"epoch": epoch})
    content = run.metrics_path.read_bytes()

    for cut in range(1, len(content) // 2):
        run.metrics_path.write_bytes(content[:-cut])
        known = 2 if cut == 1 else 1  # only the line break is missing
        assert run.rows() == [{"epoch": 1}, {"epoch": 2}][:known]
        run.drop_after(1)
        run.append_row({"epoch": 2})
        assert run.metrics_path.read_bytes() == content


def test_drop_after_forgets_later_epochs(tmp_path: Path) -> None:
    """Lines and pictures past the checkpoint go, those up to it stay, and an empty run stays empty."""
    run = open_again(tmp_path / "a")
    run.drop_after(0)
    assert run.rows() == []
    run.frames.mkdir()
    for epoch in range(1, 13):
        run.append_row({"epoch": epoch})
        (run.frames / f"{epoch:04d}.png").touch()

    run.drop_after(9)

    assert [row["epoch"] for row in run.rows()] == list(range(1, 10))
    assert sorted(path.name for path in run.frames.iterdir()) == [f"{epoch:04d}.png" for epoch in range(1, 10)]


def test_record_round_trip(tmp_path: Path) -> None:
    """``run.json`` holds every field, a change keeps the others, and what cannot be read is None."""
    run = RunDirectory(tmp_path)
    assert run.record() is None
    run.update_record(status="failed")  # without a record there is nothing to change
    assert not run.record_path.exists()
    run.write_record(
        record(seed=7, git={"sha": "abc", "dirty": True}, plugins=[{"distribution": "x", "version": None}])
    )

    run.update_record(status="finished", data=DataRecord(fingerprint="f", images={"train": 3}))

    found = run.record()
    assert found is not None
    assert (found.status, found.seed, found.data) == ("finished", 7, DataRecord(fingerprint="f", images={"train": 3}))
    assert found.git == {"sha": "abc", "dirty": True}
    run.record_path.write_text('{"status": "finished"}')
    assert run.record() is None


@pytest.mark.parametrize(
    ("status", "changes", "complete"),
    [
        ("finished", [], True),
        ("finished", ["train.workers=2"], True),
        ("finished", ["train.epochs=13"], False),
        ("finished", ["train.seed=1"], False),
        ("interrupted", [], False),
        ("running", [], False),
    ],
)
def test_is_complete(tmp_path: Path, status: str, changes: list[str], complete: bool) -> None:
    """Only a finished run of this recipe, with no more epochs wanted, needs nothing."""
    train(tmp_path / "a", status=status)

    assert is_complete(tmp_path / "a", recipe(*changes)) == complete


def test_nothing_is_complete_without_run_and_recipe(tmp_path: Path) -> None:
    """A missing directory is not complete, and without the recipe nobody knows."""
    assert not is_complete(tmp_path / "a", recipe())
    run = train(tmp_path / "a")
    run.recipe_path.unlink()

    assert not is_complete(tmp_path / "a", recipe())


def test_no_torch_is_needed(tmp_path: Path) -> None:
    """The directory is refused or locked before the seconds that importing torch takes."""
    (tmp_path / "recipe.json").write_text(recipe_json(recipe()))
    script = (
        "import sys; from pathlib import Path; from segzoo.recipe import load_recipe; "
        "from segzoo.training.rundir import open_run\n"
        "with open_run(Path(sys.argv[1]), load_recipe(sys.argv[2]), resume=False, overwrite=False): pass\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a"), str(tmp_path / "recipe.json")]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
