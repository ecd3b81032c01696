"""Scoring an image of any size in windows that overlap and are blended, row of windows by row of windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

ALIGN = 32
"""Windows begin at multiples of this, so that a network with a stride sees the same grid as in the whole image."""

SHARPNESS = 8
"""A window's length over the standard deviation of its weights."""

Score = Callable[[Tensor], Tensor]
"""Maps images ``(N, C, H, W)`` to logits ``(N, K, H, W)``."""


class Span(NamedTuple):
    """Where a window begins and ends along one axis."""

    start: int
    stop: int


class Block(NamedTuple):
    """A part of the result that no other window changes any more.

    Args:
        top: Its first row in the image.
        left: Its first column.
        logits: Its logits ``(K, height, width)``.
    """

    top: int
    left: int
    logits: Tensor


def spans(length: int, window: int, overlap: float) -> list[Span]:
    """Return the windows along an axis: they cover it, and the last one ends where it ends.

    Args:
        length: Pixels along the axis.
        window: Pixels of a window; shorter axes have one window. The last one has up to 31 more, as all begin at
            multiples of 32 pixels if they have 64.
        overlap: Share of a window that the next one covers too, at least.

    Raises:
        ValueError: If the window is empty, or the overlap is not in [0, 1).
    """
    if window < 1:
        raise ValueError(f"a window has at least 1 pixel, got {window}")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must be at least 0 and below 1, got {overlap}")
    if length <= window:
        return [Span(0, length)]
    align = ALIGN if window >= 2 * ALIGN else 1
    step = max(int(window * (1 - overlap)) // align, 1) * align
    last = (length - window) // align * align
    starts = [*range(0, last, step), last]
    return [*(Span(start, start + window) for start in starts[:-1]), Span(last, length)]


def blending(windows: Sequence[Span]) -> list[Tensor]:
    """Return for each window a weight per pixel, float32; those of all windows at a pixel add up to 1.

    Weights fall off from the middle of a window like a Gaussian. Beside a neighbour the outer quarter of what both
    cover counts for nothing: there the network has seen padding where the image goes on.
    """
    length = windows[-1].stop
    raw, total = [], torch.zeros(length, dtype=torch.float64)
    for index, (start, stop) in enumerate(windows):
        places = torch.arange(start, stop, dtype=torch.float64)
        weights = torch.exp(-(((places - (start + stop - 1) / 2) * SHARPNESS / (stop - start)) ** 2) / 2)
        if index:
            weights[: (windows[index - 1].stop - start) // 4] = 0
        if index + 1 < len(windows):
            weights[len(weights) - (stop - windows[index + 1].start) // 4 :] = 0
        total[start:stop] += weights
        raw.append(weights)
    return [(weights / total[start:stop]).float() for weights, (start, stop) in zip(raw, windows, strict=True)]


def slide(
    score: Score,
    read: Callable[[int, int], Tensor],
    *,
    size: tuple[int, int],
    window: tuple[int, int],
    overlap: float,
    batch_size: int,
) -> Iterator[Block]:
    """Yield the logits of an image block by block, top down and from left to right in each row of windows.

    Only one row of windows of the image is held at a time, and of the logits what the next row of windows overlaps.

    Args:
        score: The network.
        read: Returns the image's rows from the first number up to the second, ``(C, rows, W)``.
        size: Height and width of the image.
        window: Height and width of a window.
        overlap: Share of a window that the next one covers too.
        batch_size: Windows that are scored at once.
    """
    rows, columns = (spans(length, side, overlap) for length, side in zip(size, window, strict=True))
    weights: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None
    below: Tensor | None = None
    for index, row in enumerate(rows):
        height = _step(rows, index)
        carried: Tensor | None = None
        right: Tensor | None = None
        scored = _score_row(score, read(*row), columns, batch_size)
        for number, (column, logits) in enumerate(zip(columns, scored, strict=True)):
            if weights is None:
                weights = _moved(blending(rows), logits.device), _moved(blending(columns), logits.device)
            down, across = weights
            part = logits * down[index][:, None] * across[number]
            if right is not None:
                part[..., : right.shape[-1]] += right
            width = _step(columns, number)
            done, right = part[..., :width], part[..., width:]
            reach = slice(column.start, column.start + width)
            if below is not None:
                done[:, : below.shape[1]] += below[..., reach]
            if carried is None:
                carried = part.new_empty(part.shape[0], part.shape[1] - height, size[1])
            carried[..., reach] = done[:, height:]
            yield Block(row.start, column.start, done[:, :height])
        below = carried


def score_in_windows(
    score: Score, images: Tensor, *, window: tuple[int, int], overlap: float, batch_size: int
) -> Tensor:
    """Return the logits ``(N, K, H, W)`` of images ``(N, C, H, W)`` that the network sees in windows.

    Images that fit into one window are scored as they are.

    Args:
        score: The network.
        images: The images.
        window: Height and width of a window.
        overlap: Share of a window that the next one covers too.
        batch_size: Windows that are scored at once.
    """
    height, width = images.shape[-2:]
    if height <= window[0] and width <= window[1]:
        return score(images)
    return torch.stack(
        [_whole(score, image, window=window, overlap=overlap, batch_size=batch_size) for image in images]
    )


def _whole(score: Score, image: Tensor, *, window: tuple[int, int], overlap: float, batch_size: int) -> Tensor:
    """Return the logits ``(K, H, W)`` of one image."""
    height, width = image.shape[-2:]
    blocks = slide(
        score,
        lambda top, bottom: image[:, top:bottom],
        size=(height, width),
        window=window,
        overlap=overlap,
        batch_size=batch_size,
    )
    first = next(blocks)
    logits = first.logits.new_empty(first.logits.shape[0], height, width)
    for top, left, block in chain([first], blocks):
        logits[:, top : top + block.shape[1], left : left + block.shape[2]] = block
    return logits


def _moved(weights: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
    """Return weights on a device: on CUDA in one copy that nothing waits for."""
    joined = torch.cat(list(weights))
    if device.type == "cuda":
        joined = joined.pin_memory()
    return torch.split(joined.to(device, non_blocking=True), [len(each) for each in weights])


def _step(windows: Sequence[Span], index: int) -> int:
    """Return how far it is from a window to the next one, or to the end of the last one."""
    end = windows[index + 1].start if index + 1 < len(windows) else windows[index].stop
    return end - windows[index].start


def _score_row(score: Score, band: Tensor, columns: Sequence[Span], batch_size: int) -> Iterator[Tensor]:
    """Yield the logits of the windows of a row; those of one batch are equally wide."""
    first = 0
    while first < len(columns):
        width = columns[first].stop - columns[first].start
        group = [column for column in columns[first : first + batch_size] if column.stop - column.start == width]
        yield from score(torch.stack([band[..., column.start : column.stop] for column in group]))
        first += len(group)
