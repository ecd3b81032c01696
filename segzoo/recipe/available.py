"""What the schema takes and this version does not build yet: said before anything starts, never ignored."""

from __future__ import annotations

from collections.abc import Iterator

from segzoo.errors import NotAvailable
from segzoo.recipe.schema import Recipe


def check_available(recipe: Recipe) -> None:
    """Refuse what this version does not build.

    Raises:
        NotAvailable: It names each path and value.
    """
    missing = list(_missing(recipe))
    if missing:
        raise NotAvailable(" and ".join(missing), plural=len(missing) > 1)


def _missing(recipe: Recipe) -> Iterator[str]:
    unused = {
        "eval": (recipe.eval, ("window",)),
    }
    for name, (section, keys) in unused.items():
        for key in keys:
            if getattr(section, key) != type(section).model_fields[key].default:
                yield f"{name}.{key}"
