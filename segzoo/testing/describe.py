"""An exception as one line."""

from __future__ import annotations

import os
import textwrap
import traceback
from pathlib import Path

from segzoo.errors import SegzooError
from segzoo.testing.subject import ContractError

LONGEST = 400
"""Characters; torch's own messages can fill pages."""


def describe(error: BaseException) -> str:
    """Return what is wrong; where it is a surprise, with the kind of the error and the line of code."""
    if isinstance(error, (ContractError, SegzooError)):
        text, place = str(error), ""
    else:
        text, place = f"{type(error).__name__}: {error}", _place(error)
    return textwrap.shorten(text, LONGEST, placeholder=" …") + place


def _place(error: BaseException) -> str:
    """Return the innermost line outside torch."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}torch{os.sep}" not in frame.filename
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
