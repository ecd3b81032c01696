"""Why a file is not read: the reasons that Pillow's images and tifffile's bands have in common."""

from __future__ import annotations

from segzoo.data.findings import Kind


class RefusedError(Exception):
    """A reason without the path; it never leaves the functions that read a file."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def check_pixels(width: int, height: int, limit: int) -> None:
    """Refuse an image whose header promises more pixels than the limit."""
    if width * height > limit:
        raise RefusedError("too_large", f"{width}x{height} pixels are more than the limit of {limit:,}")


def check_frames(count: int) -> None:
    """Refuse a file of several images: which of them is meant is not guessed."""
    if count > 1:
        raise RefusedError("unsupported", f"it has {count} frames or pages; only single images are read")


def check_bands(count: int, channels: int) -> None:
    """Refuse an image whose bands are not as many as the channels of the model."""
    if count != channels:
        raise RefusedError(
            "unsupported",
            f"it has {count} band{'s' if count > 1 else ''} where model.in_channels is {channels}; "
            f"set model.in_channels to {count} if all images are like this one",
        )
