"""Self-contained HTML pages from the templates beside this file: no script, nothing fetched."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

IMAGE_TYPES = {".png": "image/png", ".gif": "image/gif"}


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


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("segzoo"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
