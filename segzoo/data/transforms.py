"""Resizing, and random augmentation that depends on a seed and on nothing else."""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import cv2
import numpy as np
from pydantic import ValidationError

from segzoo.data.source import Pixels
from segzoo.errors import RecipeError
from segzoo.recipe.augment import check_augment
from segzoo.recipe.schema import AugmentEntry

# It would ask the package index for its newest version on import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations

Mask = TypeVar("Mask", Pixels, None)


def resize(image: Pixels, mask: Mask, size: tuple[int, int]) -> tuple[Pixels, Mask]:
    """Bring an image and its mask to a height and width; what has that size already is returned as it is.

    Args:
        image: uint8 ``(H, W, C)``: averaged over areas where it shrinks, else interpolated linearly.
        mask: uint8 ``(H, W)``, or None: takes the nearest label.
        size: Height and width.
    """
    height, width = size
    if image.shape[:2] != size:
        image = _resize_image(image, height, width)
    if mask is not None and mask.shape != size:
        # The plain nearest takes corners of pixels, half a pixel off from what images show.
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[assignment]
    return image, mask


def _resize_image(image: Pixels, height: int, width: int) -> Pixels:
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    # OpenCV averages areas of at most four channels, and drops the axis of a single one.
    parts = [
        cv2.resize(part, (width, height), interpolation=interpolation).reshape(height, width, -1)
        for part in np.split(image, range(4, image.shape[2], 4), axis=2)
    ]
    return cast(Pixels, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2))


@dataclass(frozen=True)
class TrainTransform:
    """Augments one sample and brings it to the size that the network sees.

    Args:
        compose: The albumentations pipeline; None leaves samples as they are.
        image_size: Height and width of the result; None keeps what the pipeline gives.
        crops: Whether the pipeline crops: it then meets samples in their own size, else in ``image_size``.
    """

    compose: albumentations.Compose | None
    image_size: tuple[int, int] | None
    crops: bool

    def prepare(self, image: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
        """Do what comes before anything random: doing it once is as good as doing it for every augmentation."""
        if self.image_size is None or self.crops:
            return image, mask
        return resize(image, mask, self.image_size)

    def __call__(self, image: Pixels, mask: Pixels, *, seed: int) -> tuple[Pixels, Pixels]:
        """Map uint8 ``(H, W, C)`` and ``(H, W)``, prepared or not, to the same types.

        Equal seeds give equal results.

        Raises:
            RecipeError: If a transform cannot act on the image, such as a crop on a smaller one.
        """
        image, mask = self.prepare(image, mask)
        if self.compose is not None:
            image, mask = self._augment(self.compose, image, mask, seed)
        if self.image_size is not None:
            image, mask = resize(image, mask, self.image_size)
        return image, mask

    def _augment(
        self, compose: albumentations.Compose, image: Pixels, mask: Pixels, seed: int
    ) -> tuple[Pixels, Pixels]:
        # One stream for all transforms: set_random_seed gives each its own with the same seed, so that two flips of
        # probability one half always come together.
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            result = compose(image=image, mask=mask)
        except Exception as error:  # each transform has its own way to refuse an image
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise RecipeError(f"augment fails on an image of {_describe(image)}: {reason}") from error
        # A single channel may come without its axis, and some transforms return int32.
        return np.atleast_3d(result["image"]), result["mask"].astype(np.uint8, copy=False)


def _describe(image: Pixels) -> str:
    height, width, channels = image.shape
    return f"{height}x{width} pixels and {channels} channel{'' if channels == 1 else 's'}"


def build_augmentation(
    entries: Sequence[AugmentEntry], *, ignore_index: int, image_size: tuple[int, int] | None
) -> TrainTransform:
    """Build the ``augment`` section of a recipe.

    Where a transform fills what it uncovers, the mask gets ``ignore_index`` there unless the entry says otherwise;
    transforms that hide parts of the image and by default leave the mask alone keep doing so.

    Args:
        entries: The section.
        ignore_index: Label that is neither trained nor scored.
        image_size: Height and width that the network sees, or None for each sample's own.

    Raises:
        RecipeError: If a transform, an argument or its value is wrong; it is named with its path.
    """
    check_augment(entries)
    if not entries:
        return TrainTransform(None, image_size, crops=False)
    transforms = _build_all(entries, "augment", ignore_index)
    compose = albumentations.Compose(transforms, strict=True)
    return TrainTransform(compose, image_size, crops=any("Crop" in name for name in _names(entries)))


def _names(entries: Sequence[AugmentEntry]) -> Iterator[str]:
    for entry in entries:
        yield entry.name
        yield from _names(entry.transforms or ())


def _build_all(entries: Sequence[AugmentEntry], path: str, ignore_index: int) -> list[Any]:
    return [_build(entry, f"{path}.{position}", ignore_index) for position, entry in enumerate(entries)]


def _build(entry: AugmentEntry, path: str, ignore_index: int) -> Any:  # noqa: ANN401 - albumentations has no types
    transform = getattr(albumentations, entry.name)
    arguments: dict[str, Any] = dict(entry.model_extra or {})
    if entry.p is not None:
        arguments["p"] = entry.p
    if entry.transforms is not None:
        arguments["transforms"] = _build_all(entry.transforms, f"{path}.transforms", ignore_index)
    known = inspect.signature(transform.__init__).parameters
    if "fill_mask" in known and known["fill_mask"].default is not None:
        arguments.setdefault("fill_mask", ignore_index)
    try:
        return transform(**arguments)
    except Exception as error:  # pydantic's errors come wrapped, and constructors raise their own
        raise RecipeError(f"{path}: {entry.name}: {_explain(error, arguments)}") from error


def _explain(error: Exception, arguments: dict[str, Any]) -> str:
    """Return what is wrong with which argument in one line."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return str(error)
    problems: dict[str, str] = {}
    for problem in cause.errors(include_url=False, include_context=False):
        where = problem["loc"][0] if problem["loc"] else ""
        value = f"{where} = {arguments[where]!r}: " if where in arguments else ""
        # A union reports each member that it tried; the first is the most telling.
        problems.setdefault(str(where), f"{value}{problem['msg'][0].lower()}{problem['msg'][1:]}")
    return "; ".join(problems.values())
