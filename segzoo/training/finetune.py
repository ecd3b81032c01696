"""``finetune``: a recipe becomes a run directory. Torch is imported once the directory is locked."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segzoo.environment import collect
from segzoo.errors import Interrupted, RecipeError, SegzooError
from segzoo.plugins import default_registry, loaded_plugins
from segzoo.recipe import Recipe, recipe_sha256, resolve_recipe, resolve_without_weights
from segzoo.recipe.consistency import FEATURE_STRATEGIES
from segzoo.runs.disk import explain_write
from segzoo.runs.lock import open_run
from segzoo.runs.rundir import RunDirectory, RunRecord, Status, now
from segzoo.runs.same_run import is_complete
from segzoo.runtime.launch import Launch, read_launch
from segzoo.runtime.signals import StopRequest, stop_on_signals

logger = logging.getLogger(__name__)

SPIN_COUNT = "10000"
"""How long an OpenMP thread spins for the others before it sleeps. Two runs on the same two cores train 2.6 times as
fast as with libgomp's own setting; one run alone is 3 % slower (benchmarks/results/spin_wait.json)."""


@dataclass(frozen=True)
class Run:
    """A run directory, to be read.

    Args:
        folder: The directory.
    """

    folder: Path

    @property
    def report(self) -> Path:
        """The page that tells everything."""
        return self.folder / "report.html"

    @property
    def samples(self) -> Path:
        """The picture of images, targets and predictions."""
        return self.folder / "figures" / "samples.png"

    @property
    def model(self) -> Path:
        """The folder with the best weights and their description."""
        return self.folder / "model"

    @property
    def record(self) -> RunRecord | None:
        """What ``run.json`` holds."""
        return RunDirectory(self.folder).record()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``, one for each epoch."""
        return RunDirectory(self.folder).rows()


def finetune(
    recipe: Recipe,
    *,
    out: Path | str | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """Train a recipe.

    Args:
        recipe: The recipe, resolved or not.
        out: The run directory; ``runs/<name>`` in the current directory where it is None.
        device: ``auto``, or a torch device.
        resume: Go on with the run that is there; where there is none, start it.
        overwrite: Delete the run that is there.

    Returns:
        The finished run.

    Raises:
        SegzooError: If recipe, data, device or training is at fault.
    """
    return train_recipe(recipe, out=out, device=device, resume=resume, overwrite=overwrite, stop=StopRequest())


def train_recipe(
    recipe: Recipe,
    *,
    out: Path | str | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    stop: StopRequest,
) -> Run:
    """Train a recipe as :func:`finetune` does, stopped as ``stop`` asks."""
    launch = read_launch()
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    restores = resume and not overwrite and _has_checkpoint(folder)
    resolved = (
        resolve_without_weights(recipe, default_registry()) if restores else resolve_recipe(recipe, default_registry())
    )
    _check_launch(resolved, launch)
    if resume and not overwrite and is_complete(folder, resolved):
        logger.info("%s is finished; nothing to do", folder)
        return Run(folder)
    stop.repeated = launch.size > 1
    if launch.first:
        with stop_on_signals(stop), open_run(folder, resolved, resume=resume, overwrite=overwrite) as run:
            if resume and not run.contents():
                logger.info("there is no run in %s to go on with; starting one", folder)
            _train(resolved, run, launch, stop, device=device, overwrite=overwrite)
    else:
        # Only the first process writes, and this one has nothing to save until it has met it.
        _train(resolved, RunDirectory(folder), launch, stop, device=device, overwrite=overwrite)
    return Run(folder)


def _train(
    recipe: Recipe, run: RunDirectory, launch: Launch, stop: StopRequest, *, device: str, overwrite: bool
) -> None:
    """Import torch, meet the other processes and train."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read once, when torch is imported
    from segzoo.runtime.device import choose_own_device, fix_cublas, on_device
    from segzoo.runtime.distributed import join
    from segzoo.training.session import train_run

    chosen = choose_own_device(device, launch)
    workspace = fix_cublas(chosen, deterministic=recipe.train.deterministic)
    with (
        on_device(chosen),
        join(launch, chosen) as world,
        nullcontext() if launch.first else stop_on_signals(stop),
        _closing(run),
    ):
        record = _new_record(recipe, workspace)
        train_run(recipe, run, record, device=chosen, overwrite=overwrite, stop=stop, world=world)


@contextmanager
def _closing(run: RunDirectory) -> Iterator[None]:
    """Record how the run ends."""
    try:
        yield
        if run.begun:
            _finish(run)
    except (Interrupted, KeyboardInterrupt):
        _abandon(run, "interrupted")
        raise
    except BaseException as error:
        fault = explain_write(error, run.folder) if isinstance(error, OSError) else None
        told = fault or error
        _abandon(run, "failed", str(told) if isinstance(told, SegzooError) else f"{type(told).__name__}: {told}")
        if fault is not None:
            raise fault from error
        raise


def _has_checkpoint(folder: Path) -> bool:
    """Say whether a run can go on from there; the best weights alone are no state of a run."""
    with suppress(PermissionError):  # told when the directory is opened
        return any(path.name != "best.pt" for path in RunDirectory(folder).checkpoints.glob("*.pt"))
    return False


def _finish(run: RunDirectory) -> None:
    """Write the page and record the end, in this order: nothing is added to a run that says it is finished."""
    from segzoo.runs.report import write_report

    write_report(run.folder, status="finished")
    run.update_record(status="finished", error=None)


def _abandon(run: RunDirectory, status: Status, error: str | None = None) -> None:
    """Record how the run ended and write its page as far as the disk takes them; a run that never began has neither."""
    if run.begun:
        from segzoo.runs.report import write_report

        with suppress(OSError):
            run.update_record(status=status, error=error)
        with suppress(OSError):
            write_report(run.folder)


def _new_record(recipe: Recipe, cublas_workspace: str | None) -> RunRecord:
    environment = collect()
    return RunRecord(
        started=now(),
        updated=now(),
        argv=sys.argv,
        seed=recipe.train.seed,
        versions=environment["versions"],
        machine=environment["machine"],
        git=environment["git"],
        plugins=loaded_plugins([recipe.model.name]),
        recipe_sha256=recipe_sha256(recipe),
        cublas_workspace=cublas_workspace,
    )


def _check_launch(recipe: Recipe, launch: Launch) -> None:
    """Refuse what several processes cannot do together."""
    size = recipe.train.batch_size
    if size % launch.size:
        raise RecipeError(
            f"train.batch_size {size} is the batch of the whole run, and {launch.size} processes cannot share it out "
            f"evenly; choose a multiple of {launch.size}, or another number of processes"
        )
    strategy = recipe.transfer.strategy
    if launch.size > 1 and strategy in FEATURE_STRATEGIES:
        raise RecipeError(
            f"transfer.strategy {strategy!r} trains a head in one process, not in {launch.size}; start one, or use "
            "'frozen_encoder'"
        )
