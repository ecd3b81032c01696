"""A bar that counts images, where stderr is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from segzoo.cli.output import plain


@contextmanager
def counting(task: str) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """Yield what is told how many images there are, and returns what is told of each further number."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=plain(sys.stderr),
        redirect_stdout=not plain(sys.stdout),  # what goes into a file or a pipe has to arrive there
    ) as bars:

        def watch(total: int) -> Callable[[int], None]:
            number = bars.add_task(task, total=total)
            return lambda done: bars.advance(number, done)

        yield watch
