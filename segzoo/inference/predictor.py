"""A trained model as a function of an image: an array in, labels out, at the image's own resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segzoo.data.normalise import Normalise
from segzoo.data.source import Pixels
from segzoo.data.transforms import resize
from segzoo.inference.augment import augmented
from segzoo.inference.crf import refine
from segzoo.inference.description import ModelDescription
from segzoo.inference.fast import fastest, smooth_noise
from segzoo.inference.method import Method
from segzoo.inference.ways import PLAIN, Trial, Way
from segzoo.nn.sliding import Block, score_in_windows, slide
from segzoo.runtime.device import send
from segzoo.scoring.evaluation import Network, resize_logits

Mode = Literal["eager", "best"]
Probabilities = NDArray[np.float32]

PLANE = 1 << 25
"""Values of full-resolution logits that are held at once while labels are taken from them."""


class Predictor:
    """Labels images. Several threads may use one at the same time.

    Args:
        model: The network, in evaluation mode.
        description: What its ``model.json`` says.
        min_size: Smallest height and width that it takes; smaller images are padded.
        device: Where it runs.
        mode: ``"eager"``, or ``"best"`` to look for the fastest way to run it that gives the same labels.
    """

    def __init__(
        self,
        model: nn.Module,
        description: ModelDescription,
        *,
        min_size: int,
        device: torch.device,
        mode: Mode = "eager",
    ) -> None:
        if mode not in ("eager", "best"):
            raise ValueError(f"mode must be 'eager' or 'best', got {mode!r}")
        self.description = description
        self.device = device
        self.min_size = min_size
        self.method = Method(window=description.window)
        normalise = Normalise(description.mean, description.std).to(device)
        network = Network(model.eval().to(device), normalise, device=device, dtype=None, channels_last=False)
        self.way: Way = PLAIN
        self.trials: tuple[Trial, ...] = ()
        self._score: Callable[[Tensor], Tensor] = network.logits
        if mode == "best":
            self.way, self._score, self.trials = fastest(network, self._example())

    @property
    def choice(self) -> str:
        """How the network is run, in words; :attr:`trials` has what else was tried."""
        return self.way.name

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names by label."""
        return self.description.names

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """The classes' colours by label."""
        return self.description.palette

    def __call__(self, image: Pixels, method: Method | None = None) -> Pixels:
        """Return the labels of an image, uint8 ``(H, W)``.

        Args:
            image: uint8 ``(H, W, in_channels)``, three channels being RGB.
            method: How it is labelled; None as the model was scored.

        Raises:
            ValueError: If the array is of another type or shape.
        """
        return self.predict([image], method)[0]

    def probabilities(self, image: Pixels, method: Method | None = None) -> Probabilities:
        """Return the probability of each class at each pixel of an image, float32 ``(num_classes, H, W)``.

        Raises:
            ValueError: As a call does.
        """
        return self.examine(image, method)[1]

    def examine(self, image: Pixels, method: Method | None = None) -> tuple[Pixels, Probabilities]:
        """Return labels and probabilities of an image at once, as a call and :meth:`probabilities` do.

        Raises:
            ValueError: As a call does.
        """
        chosen = method or self.method
        self._check(image)
        with torch.inference_mode():
            (logits,) = self._logits([image], chosen)
            full = self._full(logits, image, chosen)
            labels = _bytes(full.argmax(0)) if chosen.crf else self._labels(logits, image, chosen)
            return labels, full.cpu().numpy()

    def predict(self, images: Iterable[Pixels], method: Method | None = None) -> list[Pixels]:
        """Return the labels of several images; those that the network sees in one size are scored together.

        Raises:
            ValueError: As a call does.
        """
        chosen = method or self.method
        given = list(images)
        for image in given:
            self._check(image)
        with torch.inference_mode():
            found = self._logits(given, chosen)
            return [self._labels(logits, image, chosen) for logits, image in zip(found, given, strict=True)]

    def blocks(
        self, read: Callable[[int, int], Pixels], size: tuple[int, int], method: Method
    ) -> Iterator[tuple[int, int, Pixels]]:
        """Yield top, left and labels of parts of an image that is too large to be held, row of windows by row.

        Args:
            read: Returns the image's rows from the first number up to the second, uint8 ``(rows, W, in_channels)``.
            size: Height and width of the image.
            method: How it is labelled: in windows and without a CRF.

        Raises:
            ValueError: If the method has no window, or a CRF.
        """
        if method.window is None or method.crf:
            raise ValueError("an image is labelled in parts with a window and without a CRF")
        found = slide(
            self._augmented(method),
            lambda top, bottom: self._planes(read(top, bottom)),
            size=size,
            window=method.window,
            overlap=method.overlap,
            batch_size=method.batch_size,
        )
        # Inference mode is left between two blocks: a generator would carry it into the caller.
        while True:
            with torch.inference_mode():
                block: Block | None = next(found, None)
                if block is None:
                    return
                labels = block.logits.argmax(0).to("cpu", torch.uint8).numpy()
            yield block.top, block.left, labels

    def _logits(self, images: Sequence[Pixels], method: Method) -> Iterator[Tensor]:
        """Yield logits ``(1, K, h, w)`` of each image in the size that the network sees."""
        if method.window is not None:
            for image in images:
                yield score_in_windows(
                    self._augmented(method),
                    self._planes(image)[None],
                    window=method.window,
                    overlap=method.overlap,
                    batch_size=method.batch_size,
                )
            return
        size = self.description.image_size
        seen = [image if size is None else resize(image, None, size)[0] for image in images]
        for _, group in groupby(seen, key=lambda image: image.shape):
            alike = list(group)
            for first in range(0, len(alike), method.batch_size):
                batch = torch.stack([self._planes(image) for image in alike[first : first + method.batch_size]])
                logits = self._augmented(method)(batch)
                yield from (logits[place : place + 1] for place in range(len(logits)))

    def _augmented(self, method: Method) -> Callable[[Tensor], Tensor]:
        """Return what scores images, or windows of them, as the method says."""
        return augmented(self._padded, method.augmentations, min_size=self.min_size)

    def _padded(self, images: Tensor) -> Tensor:
        """Score images that may be smaller than the network takes."""
        height, width = images.shape[-2:]
        more = [max(self.min_size - side, 0) for side in (height, width)]
        if any(more):
            # Bytes, repeated from the edge: what is added has colours that occur.
            images = F.pad(images.float(), (0, more[1], 0, more[0]), mode="replicate")
        return self._score(images)[..., :height, :width]

    def _labels(self, logits: Tensor, image: Pixels, method: Method) -> Pixels:
        """Return the labels of an image, which is never held in logits of its own size if it is large."""
        if method.crf:
            return _bytes(self._full(logits, image, method).argmax(0))
        height, width = image.shape[:2]
        if logits.shape[-2:] == (height, width) or logits.shape[1] * height * width <= PLANE:
            return _bytes(resize_logits(logits, (height, width))[0].argmax(0))
        return _labels_in_strips(logits, (height, width))

    def _full(self, logits: Tensor, image: Pixels, method: Method) -> Tensor:
        """Return probabilities ``(K, H, W)`` at the image's own resolution."""
        probabilities = resize_logits(logits, (image.shape[0], image.shape[1]))[0].softmax(0)
        return refine(probabilities, self._planes(image)) if method.crf else probabilities

    def _check(self, image: Pixels) -> None:
        channels = self.description.in_channels
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"an image is an array of uint8, got {kind}")
        if image.ndim != 3 or image.shape[2] != channels or not image.size:
            raise ValueError(f"an image has the shape (H, W, {channels}), got {image.shape}")

    def _example(self) -> Tensor:
        """Return an image that the network can be tried on, uint8 ``(1, C, h, w)``."""
        height, width = self.method.window or self.description.image_size or (256, 256)
        return smooth_noise(
            (1, self.description.in_channels, max(height, self.min_size), max(width, self.min_size))
        ).to(self.device)

    def _planes(self, image: Pixels) -> Tensor:
        """Return uint8 ``(C, H, W)`` of ``(H, W, C)``, on the device."""
        return send(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), self.device)


def _bytes(labels: Tensor) -> Pixels:
    found: Pixels = labels.to("cpu", torch.uint8).numpy()
    return found


def _labels_in_strips(logits: Tensor, size: tuple[int, int]) -> Pixels:
    """Return the labels of logits ``(1, K, h, w)`` resized to ``size``, strip by strip."""
    height, width = size
    labels = np.empty(size, np.uint8)
    wide = resize_logits(logits, (logits.shape[-2], width))
    rows = max(PLANE // (logits.shape[1] * width), 1)
    # As F.interpolate places them: centres of pixels lie on centres of pixels.
    places = ((torch.arange(height, device=logits.device) + 0.5) * (logits.shape[-2] / height) - 0.5).clamp_min(0)
    for first in range(0, height, rows):
        place = places[first : first + rows]
        low = place.long()
        high = (low + 1).clamp_max(logits.shape[-2] - 1)
        share = (place - low)[:, None]
        strip = wide[0, :, low] * (1 - share) + wide[0, :, high] * share
        labels[first : first + rows] = _bytes(strip.argmax(0))
    return labels
