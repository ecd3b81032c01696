"""A run directory is one process's at a time, and nobody else's files are ever deleted."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from segzoo.errors import DataError, DeviceError, Interrupted, RunDirectoryError, UsageFault
from segzoo.recipe import load_recipe, recipe_json
from segzoo.runs.lock import is_in_use, open_run

HOLD = """
import os, sys, time
from pathlib import Path
from segzoo.recipe import load_recipe
from segzoo.runs.lock import open_run
with open_run(Path(sys.argv[1]), load_recipe(Path(sys.argv[2])), resume=False, overwrite=False) as run:
    child = os.fork() if "with-child" in sys.argv else -1
    if child <= 0:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


@contextmanager
def held(runs: Any, folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Let another process hold a run directory; return it, and the id of the child it forked if it was asked to."""
    path = folder.with_suffix(".json")
    path.write_text(recipe_json(runs.recipe()))
    command = [sys.executable, "-c", HOLD, str(folder), str(path), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            yield holder, int(holder.stdout.readline())
        finally:
            holder.kill()


def test_new_run_has_its_folders_and_recipe(runs: Any, tmp_path: Path) -> None:
    """The directory and its parents are made, and the recipe in it is the one that runs."""
    folder = tmp_path / "runs" / "a"
    run = runs.begin(folder, "train.seed=3")

    assert {path.name for path in run.contents()} == {"recipe.json", "run.json", "checkpoints", "model", "figures"}
    assert load_recipe(run.recipe_path) == runs.recipe("train.seed=3")


def test_existing_run_is_refused(runs: Any, tmp_path: Path) -> None:
    """Without a wish nothing is touched, and the message has the three ways out."""
    runs.leave(tmp_path / "a")
    before = runs.contents(tmp_path)

    with pytest.raises(RunDirectoryError, match=r"exists; pass --resume .*, --overwrite .*, or choose another --out"):
        runs.begin(tmp_path / "a")

    assert runs.contents(tmp_path) == before


def test_resume_keeps_everything(runs: Any, tmp_path: Path) -> None:
    """What the run has written is still there, and the directory now holds the changed recipe."""
    run = runs.leave(tmp_path / "a")

    runs.begin(tmp_path / "a", "train.workers=2", resume=True)

    assert (run.checkpoints / "last.pt").read_bytes() == b"state"
    assert run.rows() == [{"epoch": 1}]
    assert load_recipe(run.recipe_path) == runs.recipe("train.workers=2")


def test_resume_without_a_directory_starts(runs: Any, tmp_path: Path) -> None:
    """``--resume`` is safe to pass always."""
    assert runs.begin(tmp_path / "a", resume=True).recipe_path.exists()


def test_overwrite_deletes_the_run_and_nothing_outside(runs: Any, tmp_path: Path) -> None:
    """The old run's files go, notes in it too; what a link in it points to stays."""
    run = runs.leave(tmp_path / "a")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "photo.jpg").touch()
    (run.folder / "data").symlink_to(tmp_path / "data")
    (run.folder / "notes.txt").touch()

    runs.begin(tmp_path / "a", "train.seed=1", overwrite=True)

    assert sorted(runs.contents(run.folder)) == ["recipe.json", "run.json"]
    assert (tmp_path / "data" / "photo.jpg").exists()


def test_resume_and_overwrite_contradict(runs: Any, tmp_path: Path) -> None:
    """Both wishes together are refused, and the run stays."""
    runs.leave(tmp_path / "a")
    before = runs.contents(tmp_path)

    with pytest.raises(RunDirectoryError, match="--resume and --overwrite contradict each other"):
        runs.begin(tmp_path / "a", resume=True, overwrite=True)

    assert runs.contents(tmp_path) == before


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
    runs: Any, tmp_path: Path, files: list[str], resume: bool, overwrite: bool
) -> None:
    """Names that a run has too do not make a run: nothing is written there, and nothing is ever deleted."""
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(name))
    before = {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")}

    with pytest.raises(RunDirectoryError, match=f"{tmp_path} is not a run directory: it holds .* Nothing was changed"):
        runs.begin(tmp_path, resume=resume, overwrite=overwrite)

    assert {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(("resume", "overwrite"), [(False, False), (True, False), (False, True)])
def test_a_run_killed_before_its_record_is_no_obstacle(
    runs: Any, tmp_path: Path, resume: bool, overwrite: bool
) -> None:
    """A lock and an unfinished record are all that such a kill leaves; the run can start."""
    (tmp_path / ".lock").touch()
    (tmp_path / ".run.json.abc.partial").write_text("{")

    assert runs.begin(tmp_path, resume=resume, overwrite=overwrite).recipe_path.exists()


@pytest.mark.parametrize(("resume", "overwrite"), [(True, False), (False, True)])
def test_a_run_killed_while_it_began_is_no_obstacle(runs: Any, tmp_path: Path, resume: bool, overwrite: bool) -> None:
    """The record is written first and deleted last, so that what a kill leaves is known to be a run."""
    run = runs.leave(tmp_path / "a")
    for path in (run.recipe_path, run.metrics_path):
        path.unlink()

    assert runs.begin(tmp_path / "a", resume=resume, overwrite=overwrite).recipe_path.exists()


@pytest.mark.parametrize("name", ["file", "file/run", "link"])
def test_a_file_in_the_way_is_named(runs: Any, tmp_path: Path, name: str) -> None:
    """A file of the directory's name, one above it, and a link to nowhere are refused and stay as they are."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    for overwrite in (False, True):
        with pytest.raises(RunDirectoryError, match=rf"{tmp_path / name} (is a file|cannot be made)"):
            runs.begin(tmp_path / name, overwrite=overwrite)

    assert (tmp_path / "file").read_text() == "text"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(("resume", "overwrite"), [(False, False), (True, False), (False, True)])
def test_second_process_is_refused_until_the_first_is_killed(
    runs: Any, tmp_path: Path, resume: bool, overwrite: bool
) -> None:
    """While one process holds the directory no wish opens it, and nothing in it changes; SIGKILL frees it at once."""
    folder = tmp_path / "a"
    with held(runs, folder) as (holder, _):
        before = runs.contents(folder)
        with pytest.raises(RunDirectoryError, match="is in use by another"):
            runs.begin(folder, resume=resume, overwrite=overwrite)
        assert runs.contents(folder) == before
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        runs.begin(folder, resume=resume, overwrite=overwrite)


def test_second_command_is_refused(runs: Any, tmp_path: Path) -> None:
    """``finetune`` on a directory in use exits 2 with its name, before the seconds that importing torch takes."""
    folder = tmp_path / "a"
    script = (
        "import atexit, sys; from segzoo.cli import app\n"
        "atexit.register(lambda: print(sorted({'torch', 'numpy'} & set(sys.modules))))\n"
        "app(['finetune', 'quickstart', '--out', sys.argv[1], '--resume'])"
    )
    with held(runs, folder):
        command = [sys.executable, "-c", script, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert f"error: {folder} is in use by another segzoo process" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_surviving_child_does_not_hold_the_directory(runs: Any, tmp_path: Path) -> None:
    """Processes that load data outlive a killed run for seconds; it can be resumed at once all the same."""
    with held(runs, tmp_path / "a", "with-child") as (holder, child):
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        try:
            os.kill(child, 0)  # still there
            runs.begin(tmp_path / "a", resume=True)
        finally:
            os.kill(child, signal.SIGKILL)


def fail(runs: Any, folder: Path, error: Exception, **wishes: bool) -> None:
    """Open a directory and fail before the run begins."""

    def attempt() -> None:
        with open_run(folder, runs.recipe(), **({"resume": False, "overwrite": False} | wishes)):
            raise error

    with pytest.raises(type(error)):
        attempt()


@pytest.mark.parametrize("error", [DataError("x"), DeviceError("x"), Interrupted(signal.SIGINT, "x"), ValueError("x")])
def test_a_fault_before_the_run_begins_leaves_no_directory(runs: Any, tmp_path: Path, error: Exception) -> None:
    """The next attempt needs neither ``--resume`` nor ``--overwrite``."""
    fail(runs, tmp_path / "a", error)

    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_was_there_stays(runs: Any, tmp_path: Path) -> None:
    """An empty directory that the user made is not removed."""
    fail(runs, tmp_path, UsageFault("x"))

    assert tmp_path.exists()
    assert runs.contents(tmp_path) == {}
    runs.begin(tmp_path)


@pytest.mark.parametrize("wish", ["resume", "overwrite"])
def test_a_fault_before_the_run_begins_keeps_the_run_that_was_there(runs: Any, tmp_path: Path, wish: str) -> None:
    """A typo costs nothing: ``--overwrite`` deletes once nothing is left that could be refused."""
    runs.leave(tmp_path / "a")
    before = runs.contents(tmp_path)

    fail(runs, tmp_path / "a", DataError("x"), **{wish: True})

    assert runs.contents(tmp_path) == before


def test_directory_is_free_after_a_fault(runs: Any, tmp_path: Path) -> None:
    """A process that was refused can try again."""
    for _ in range(2):
        fail(runs, tmp_path / "a", UsageFault("x"))
    runs.begin(tmp_path / "a")


def test_no_torch_is_needed(runs: Any, tmp_path: Path) -> None:
    """The directory is refused or locked before the seconds that importing torch takes."""
    (tmp_path / "recipe.json").write_text(recipe_json(runs.recipe()))
    script = (
        "import sys; from pathlib import Path; from segzoo.recipe import load_recipe; "
        "from segzoo.runs.lock import open_run\n"
        "with open_run(Path(sys.argv[1]), load_recipe(sys.argv[2]), resume=False, overwrite=False): pass\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a"), str(tmp_path / "recipe.json")]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_a_run_is_in_use_while_it_is_held(runs: Any, tmp_path: Path) -> None:
    """Looking tells, leaves nothing behind, and keeps nobody out."""
    folder = tmp_path / "run"
    assert not is_in_use(folder)
    with open_run(folder, runs.recipe(), resume=False, overwrite=False) as run:
        run.begin(runs.recipe(), runs.record(), overwrite=False)
        held = multiprocessing.get_context("spawn").Pool(1)
        with held:
            assert held.apply(is_in_use, (folder,))
    before = runs.contents(folder)
    assert not is_in_use(folder)
    assert runs.contents(folder) == before
