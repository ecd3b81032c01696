"""Who may write to a run directory: one process, for one recipe, and never over what is no run.

This module needs no torch, so that a refused run ends at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from segzoo.errors import RunDirectoryError
from segzoo.files import exclusive_lock
from segzoo.recipe import Recipe
from segzoo.runs.disk import explain_folder
from segzoo.runs.rundir import RunDirectory
from segzoo.runs.same_run import check_same

LOCK = ".lock"


@contextmanager
def open_run(folder: Path, recipe: Recipe, *, resume: bool, overwrite: bool) -> Iterator[RunDirectory]:
    """Hold a run directory for writing; :meth:`RunDirectory.begin` then changes it.

    Args:
        folder: The directory; it is made where it is missing, and removed again where no run began in it.
        recipe: The resolved recipe.
        resume: Go on with the run that is there.
        overwrite: Delete the run that is there.

    Raises:
        RunDirectoryError: If the directory exists without either wish or with both, is in use, is no run, or was made
            by a recipe that differs in more than may change, or cannot be written to.
        TrainingError: If there is no room for it.
    """
    if resume and overwrite:
        raise RunDirectoryError("--resume and --overwrite contradict each other; choose one")
    run = RunDirectory(folder)
    made = False
    with ExitStack() as stack:
        try:
            made = not folder.exists()
            if not made and not folder.is_dir():
                raise RunDirectoryError(f"{folder} is a file; choose another --out")
            _refuse_existing(run, resume=resume, overwrite=overwrite)
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive_lock(folder / LOCK))
        except OSError as error:
            if made:
                _remove(run)
            raise explain_folder(error, folder) from None
        # Again, under the lock: another process may have been here first.
        _refuse_existing(run, resume=resume, overwrite=overwrite)
        if resume:
            check_same(run, recipe)
        try:
            yield run
        finally:
            if made and not run.begun:
                _remove(run)


def is_in_use(folder: Path) -> bool:
    """Say whether a process holds a run directory; nothing is left behind by looking."""
    if not (folder / LOCK).exists():
        return False
    try:
        with exclusive_lock(folder / LOCK):
            return False
    except RunDirectoryError:
        return True
    except OSError:  # of somebody else, who alone can tell
        return True


def _refuse_existing(run: RunDirectory, *, resume: bool, overwrite: bool) -> None:
    contents = run.contents()
    if not contents:
        return
    if run.record() is None:
        raise RunDirectoryError(
            f"{run.folder} is not a run directory: it holds {contents[0].name!r}, but no {run.record_path.name} "
            "of a run. Nothing was changed; choose another --out"
        )
    if not resume and not overwrite:
        raise RunDirectoryError(
            f"the run directory {run.folder} exists; pass --resume to go on, --overwrite to start again, "
            "or choose another --out"
        )


def _remove(run: RunDirectory) -> None:
    """Remove the emptied directory, unless another process has just begun to use it."""
    with suppress(OSError):
        (run.folder / LOCK).unlink(missing_ok=True)
        run.folder.rmdir()
