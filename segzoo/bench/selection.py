"""Which models a sweep measures: names, patterns and run directories.

This module needs no torch.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from segzoo.errors import UsageFault
from segzoo.plugins import default_registry
from segzoo.pretrained import DESCRIPTION


def choose_models(patterns: Iterable[str]) -> list[str]:
    """Return full ids and run directories, each once, in the order of the patterns.

    Args:
        patterns: Names, ids and globs as ``segzoo list`` takes them, and run directories or globs of them.

    Raises:
        SegzooError: If a pattern matches nothing, or a folder is no run.
    """
    chosen = list(dict.fromkeys(name for pattern in patterns for name in _matches(pattern)))
    if not chosen:
        raise UsageFault("no models are named; leave --models away for all of them")
    return chosen


def is_run(name: str) -> bool:
    """Say whether a name is that of a folder with a trained model."""
    return any((folder / DESCRIPTION).is_file() for folder in (Path(name), Path(name) / "model"))


def runs_of(pattern: str) -> list[str]:
    """Return the run directories that a path or a glob over paths names, sorted."""
    if is_run(pattern):
        return [pattern]
    # Without a slash a glob is one of models: * is the zoo, whatever folders lie around.
    found = glob.glob(pattern) if "/" in pattern else []  # noqa: PTH207 - Path.glob refuses absolute patterns
    return sorted(filter(is_run, found))


def _matches(pattern: str) -> Iterator[str]:
    registry = default_registry()
    if runs := runs_of(pattern):
        yield from runs
    elif found := registry.list(pattern):
        # A bare name that is not a glob may have an owner: a built-in wins over plugins.
        yield from (info.id for info in found) if glob.has_magic(pattern) else (registry.resolve(pattern).id,)
    elif Path(pattern).is_dir():
        raise UsageFault(f"the folder {pattern} holds no trained model: a run has model/{DESCRIPTION}")
    else:
        yield registry.resolve(pattern).id
