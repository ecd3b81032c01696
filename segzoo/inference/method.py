"""How an image is labelled: whole or in windows, once or several times, with or without a CRF.

This module needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from segzoo.errors import UnknownName
from segzoo.recipe.schema import OVERLAP

Augmentation = Literal["flip", "scales"]

Name = TypeVar("Name", bound=str)


def read_augmentations(text: str) -> tuple[Augmentation, ...]:
    """Return the names in a list such as ``"flip,scales"``.

    Raises:
        UnknownName: If one of them is no augmentation.
    """
    known: tuple[Augmentation, ...] = get_args(Augmentation)
    return read_names(text, "test-time augmentation", known)


def read_names(text: str, kind: str, known: tuple[Name, ...]) -> tuple[Name, ...]:
    """Return those of the known names that stand in a list separated by commas, in their own order.

    Raises:
        UnknownName: If the list has another one.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise UnknownName(kind, word, known)
    return tuple(name for name in known if name in words)


@dataclass(frozen=True)
class Method:
    """How an image is labelled.

    Args:
        window: Height and width of the windows in which the network sees an image at its own resolution; None shows it
            the whole image, resized as in training.
        overlap: Share of a window that the next one covers too, at least.
        augmentations: What is averaged over: ``flip``, ``scales``.
        crf: Whether a conditional random field refines the probabilities.
        batch_size: Images, or windows of an image, that the network sees at once.

    Raises:
        ValueError: If a number is out of range, or there is no such augmentation.
    """

    window: tuple[int, int] | None = None
    overlap: float = OVERLAP
    augmentations: tuple[Augmentation, ...] = ()
    crf: bool = False
    batch_size: int = 4

    def __post_init__(self) -> None:
        if self.window is not None and not _is_size(self.window):
            raise ValueError(f"window is height and width in pixels, such as (512, 512), got {self.window!r}")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap must be at least 0 and below 1, got {self.overlap!r}")
        known = get_args(Augmentation)
        if not isinstance(self.augmentations, tuple) or not set(self.augmentations) <= set(known):
            raise ValueError(f"augmentations are {', '.join(known)} in a tuple, got {self.augmentations!r}")
        if not isinstance(self.crf, bool):
            raise ValueError(f"crf is True or False, got {self.crf!r}")
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size!r}")


def _is_size(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(side, int) and side > 0 for side in value)
