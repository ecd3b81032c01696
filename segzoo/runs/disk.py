"""What a disk that is full, or may not be written to, means to a run, in words.

This module needs no torch, so that a refused run ends at once.
"""

from __future__ import annotations

import errno
from pathlib import Path

from segzoo.errors import RunDirectoryError, SegzooError, TrainingError

FULL = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "it is larger than a file may be here",
}
"""What the system says where a disk takes no more, and what that means."""


def explain_folder(error: OSError, folder: Path) -> SegzooError:
    """Return why nothing could be begun in a run directory: it is no place to write to, or there is no room.

    Args:
        error: What the system said.
        folder: The run directory.
    """
    if error.errno in FULL:
        reason = FULL[error.errno]
        return TrainingError(
            f"{folder} cannot be made or written to: {reason}; free some space, or choose another --out"
        )
    return RunDirectoryError(f"{folder} cannot be made or written to: {error.strerror}; choose another --out")


def explain_write(error: OSError, folder: Path) -> TrainingError | None:
    """Return why a file of a run could not be written and the way out, or None for what happened elsewhere.

    Args:
        error: What the system said.
        folder: The run directory.
    """
    name = str(error.filename or folder)
    if error.errno in FULL:
        reason, way_out = FULL[error.errno], "free some space"
    elif error.filename and Path(name).is_relative_to(folder):
        reason, way_out = error.strerror or str(error), "see to it that it can be written"
    else:
        return None
    return TrainingError(f"{name} cannot be written: {reason}. What was saved before is kept; {way_out}, then --resume")
