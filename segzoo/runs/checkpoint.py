"""Checkpoints that are whole or not there: atomic, checksummed, with the one before kept."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from segzoo.errors import RunDirectoryError, UsageFault
from segzoo.files import naming, sha256_bytes, sync_folder, write_pieces

logger = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
FRESH = "fresh.pt"
"""A whole checkpoint on its way to become the last."""

# The checksum of all before it ends the file; torch.load reads a zip archive from its end and skips this.
MARK = b"\nsegzoo-sha256:"
TRAILER_BYTES = len(MARK) + 64


class DamagedCheckpoint(UsageFault):
    """The file is not what was written."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"damaged checkpoint {path}: {fault}")


def save_checkpoint(folder: Path, state: dict[str, Any], *, best: bool) -> None:
    """Write ``last.pt``, keep the one before as ``previous.pt``, and name it ``best.pt`` too if it is the best.

    Killed at any moment, one of fresh, last and previous is whole, and ``best.pt`` is at least as new as the last.
    """
    for leftover in folder.glob("*.partial"):  # of a process that was killed while it wrote
        leftover.unlink()
    payload = _Pieces()
    torch.save(state, payload)
    trailer = MARK + payload.sha256.hexdigest().encode()
    waiting, fresh, last = folder / "fresh.partial", folder / FRESH, folder / LAST
    with naming(last):
        write_pieces(waiting, [*payload.written, trailer])
        # A state that says it is the best one must not be found before best.pt is there.
        if best:
            _link(waiting, folder / BEST)
        waiting.replace(fresh)
        if last.exists():
            last.replace(folder / PREVIOUS)
        fresh.replace(last)
        sync_folder(folder)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the state of the newest whole checkpoint, or None where none was written.

    A damaged one is announced and the one before used in its place.

    Raises:
        RunDirectoryError: If checkpoints exist and none is whole.
    """
    damaged: list[DamagedCheckpoint] = []
    for name in (FRESH, LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            state = read_checkpoint(path)
        except DamagedCheckpoint as error:
            damaged.append(error)
            continue
        for fault in damaged:
            logger.warning("%s; going on from %s", fault, name)
        return state
    if damaged:
        raise RunDirectoryError(
            f"no usable checkpoint: {'; '.join(map(str, damaged))}. Start again with --overwrite, or in another --out"
        )
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's state after comparing its checksum.

    Raises:
        DamagedCheckpoint: If a bit is not as it was written.
    """
    content = path.read_bytes()
    payload, trailer = memoryview(content)[:-TRAILER_BYTES], content[-TRAILER_BYTES:]
    if not trailer.startswith(MARK):
        raise DamagedCheckpoint(path, f"no checksum ends its {len(content)} bytes")
    if trailer != MARK + sha256_bytes(payload).encode():
        raise DamagedCheckpoint(path, "its content does not match its checksum")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise DamagedCheckpoint(path, f"it holds no plain tensors: {str(error).splitlines()[0]}") from None
    return state


class _Pieces(io.BytesIO):
    """Keeps what is written in the pieces it came in: one growing buffer would be copied again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.sha256 = hashlib.sha256()

    def write(self, piece: bytes | memoryview, /) -> int:  # type: ignore[override]
        """Keep a copy of a piece, whose memory is its owner's."""
        content = bytes(piece)
        self.sha256.update(content)
        self.written.append(content)
        return len(content)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system has no links."""
    temporary = target.with_suffix(".partial")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
