"""Self-contained HTML pages, which fetch nothing and run no script but their own, and how numbers read on them."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

IMAGE_TYPES = {".png": "image/png", ".gif": "image/gif"}
UNKNOWN = "—"
"""Stands for a number that is not known."""


@dataclass(frozen=True)
class Script:
    """A script that a page carries.

    Args:
        text: What stands between its tags.
        source: What the page's security policy has to name, so that this script runs and no other.
    """

    text: Markup
    source: Markup


def own_script(name: str) -> Script:
    """Return a script of segzoo's.

    Args:
        name: File name in ``segzoo/templates``.
    """
    text = (Path(__file__).parent / "templates" / name).read_text()
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), Markup(f"'sha256-{digest}'"))


def render(template: str, **context: object) -> str:
    """Return a page; what the context holds is escaped, and a name that it lacks is an error.

    Args:
        template: File name in ``segzoo/templates``.
        **context: The names that the template uses.
    """
    return _environment().get_template(template).render(context)


def data_uri(path: Path) -> str:
    """Return an image file as a ``data:`` address, which a page carries inside itself.

    Raises:
        ValueError: If the file is neither PNG nor GIF by its name.
    """
    if path.suffix not in IMAGE_TYPES:
        raise ValueError(f"an embedded image must be one of {', '.join(IMAGE_TYPES)}, got {path.name!r}")
    return f"data:{IMAGE_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def percent(share: float | None) -> str:
    """Return a share as ``87.5%``."""
    return UNKNOWN if share is None else f"{100 * share:.1f}%"


def decimal(number: float | None, places: int) -> str:
    """Return a number with that many decimal places; what rounds to nothing has no sign."""
    return UNKNOWN if number is None else f"{number:z,.{places}f}"


def count(number: int | None) -> str:
    """Return a whole number as ``24,437,239``."""
    return decimal(number, 0)


def millions(number: int | None) -> str:
    """Return a whole number as ``24.44 M``."""
    return UNKNOWN if number is None else f"{number / 1e6:.2f} M"


def duration(seconds: float | None) -> str:
    """Return a time in the units that fit it: ``4.5 s``, ``3 min 04 s`` or ``1 h 02 min``."""
    if seconds is None:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{seconds:.1f} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("segzoo"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
