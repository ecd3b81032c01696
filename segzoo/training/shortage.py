"""Memory that runs out, in words: when, and what to lower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from segzoo.data.loading.plan import Plan
from segzoo.errors import TrainingError
from segzoo.recipe import Recipe
from segzoo.runtime.device import lacks_memory


@contextmanager
def shortage_told(where: Callable[[], str], recipe: Recipe, plan: Plan) -> Iterator[None]:
    """Raise a want of memory inside as an error that says what to lower.

    Args:
        where: What was at hand, such as ``"before the first step"``; asked when memory has run out.
        recipe: The resolved recipe.
        plan: The samples of each step.

    Raises:
        TrainingError: If memory runs out inside.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        raise TrainingError(explain_shortage(where(), recipe, plan)) from error


def explain_shortage(where: str, recipe: Recipe, plan: Plan) -> str:
    """Return that memory ran out, and what to lower.

    Args:
        where: What was at hand.
        recipe: The resolved recipe.
        plan: The samples of each step; a batch larger than all of them is one of all of them.
    """
    batch = min(recipe.train.batch_size, plan.num_samples)
    # Every process keeps an equal share.
    half = max(batch // 2 // plan.processes, 1) * plan.processes
    ways = [f"--set train.batch_size={half}"] if half < batch else []
    ways.append("a smaller data.image_size")
    if recipe.train.precision == "fp32":
        ways.append("--set train.precision=bf16")
    return f"out of memory {where}; try {', '.join(ways[:-1])}{' or ' * (len(ways) > 1)}{ways[-1]}"
