"""Labelling files: read, predicted and written image by image, whatever is wrong with some of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segzoo.data.files.images import MAX_PIXELS, read_image
from segzoo.data.files.tiff import is_tiff
from segzoo.data.files.tiff_rows import open_rows
from segzoo.data.findings import FileFault, printable
from segzoo.data.source import Pixels
from segzoo.errors import Interrupted, SegzooError
from segzoo.files import prepare_folder
from segzoo.inference.inputs import check_targets
from segzoo.inference.method import Method
from segzoo.inference.outputs import (
    COCO,
    Coco,
    Extra,
    Targets,
    read_labels,
    write_contours,
    write_mask,
    write_mask_in_parts,
    write_overlay,
    write_probabilities,
)
from segzoo.inference.predictor import Predictor
from segzoo.runtime.out_of_memory import explaining_memory, lower

logger = logging.getLogger(__name__)

HELD = 1 << 24
"""Pixels of images that are held at once to be scored together."""

Existing = Literal["refuse", "replace", "keep"]
"""What becomes of results that exist: they end the call, are replaced, or spare their images."""

SMALLER = "try --window 512, a smaller --batch-size, or --device cpu"


@dataclass(frozen=True)
class Outcome:
    """What became of the images.

    Args:
        masks: The masks that were written.
        kept: Those that were there already, with all else that was wanted, and were kept.
        faults: For each image without one, what is wrong with it.
    """

    masks: tuple[Path, ...]
    kept: tuple[Path, ...]
    faults: Mapping[Path, str]


def predict_files(
    predictor: Predictor,
    images: Mapping[Path, Path],
    out: Path,
    *,
    method: Method | None = None,
    extras: tuple[Extra, ...] = (),
    max_pixels: int = MAX_PIXELS,
    existing: Existing = "refuse",
    advance: Callable[[int], None] = lambda done: None,
    written: Callable[[Path], None] = lambda mask: None,
) -> Outcome:
    """Write a mask for each image; one that cannot be read or predicted is reported, and the rest is done.

    A TIFF that is predicted in windows, without a CRF and without extras, is read and written in parts: its mask is a
    TIFF, and the memory that it takes does not grow with the image's height. All others are decoded whole, and their
    masks are PNGs.

    Args:
        predictor: The model.
        images: Files, with a relative path without suffix for what is made of each.
        out: The folder of results.
        method: How images are labelled; None as the model was scored.
        extras: What is written beside the masks.
        max_pixels: Images that are decoded whole and have more are refused.
        existing: What becomes of files that exist. ``"keep"`` labels no image again all of whose files are there, so
            that a call that was interrupted goes on; those of any other image are replaced.
        advance: Is told of each further number of images.
        written: Is told of each mask once it is there.

    Raises:
        UsageFault: If a file exists that would be replaced, would be one of the images, or could not be written.
    """
    chosen = method or predictor.method
    partly = chosen.window is not None and not chosen.crf and not extras
    targets = {
        path: Targets(out, name, extras, in_parts=partly and _starts_like_tiff(path)) for path, name in images.items()
    }
    planned = [path for each in targets.values() for path in each.all] + ([out / COCO] if "coco" in extras else [])
    check_targets(planned, images, exist_ok=existing != "refuse")
    kept = {path for path, each in targets.items() if existing == "keep" and all(map(Path.is_file, each.all))}
    if kept:
        logger.info("%d of %d images are labelled already", len(kept), len(images))
    prepare_folder(out)
    coco = Coco(predictor.classes) if "coco" in extras else None
    work = _Work(predictor, chosen, targets, kept, max_pixels, written, coco)
    for number in work.run():
        advance(number)
    if coco is not None:
        coco.write(out / COCO)
    return Outcome(tuple(work.masks), tuple(targets[path].mask for path in targets if path in kept), work.faults)


class _Work:
    """Goes through the images.

    Args:
        predictor: The model.
        method: How images are labelled.
        targets: What is written of each image.
        kept: The images that are labelled already.
        max_pixels: Limit on images that are decoded whole.
        written: Is told of each mask once it is there.
        coco: Collects annotations, where they are wanted.
    """

    def __init__(
        self,
        predictor: Predictor,
        method: Method,
        targets: Mapping[Path, Targets],
        kept: Collection[Path],
        max_pixels: int,
        written: Callable[[Path], None],
        coco: Coco | None,
    ) -> None:
        self.masks: list[Path] = []
        self.faults: dict[Path, str] = {}
        self._predictor = predictor
        self._method = method
        self._targets = targets
        self._kept = kept
        self._max_pixels = max_pixels
        self._written = written
        self._coco = coco

    def run(self) -> Iterator[int]:
        """Yield how many images are done each time some are."""
        held: dict[Path, Pixels] = {}
        for path, targets in self._targets.items():
            with self._reporting(path):
                if path in self._kept:
                    if self._coco is not None:
                        self._coco.add(str(path), read_labels(targets.mask))
                elif targets.in_parts:
                    self._predict_in_parts(path, targets)
                else:
                    held[path] = self._read(path)
            if path not in held:
                yield 1
            if len(held) == self._method.batch_size or sum(map(_area, held.values())) >= HELD:
                yield self._flush(held)
                held = {}
        if held:
            yield self._flush(held)

    def _flush(self, held: Mapping[Path, Pixels]) -> int:
        """Label and write what is held."""
        labels = self._label_together(held)
        for path, image in held.items():
            with self._reporting(path):
                self._write(path, image, labels.get(path))
        return len(held)

    def _label_together(self, held: Mapping[Path, Pixels]) -> dict[Path, Pixels]:
        """Return labels; none where that fails, so that each image is then tried by itself and none pays for another.

        Where probabilities are wanted too, both are made of one pass for each image.
        """
        if any("probabilities" in self._targets[path].extras for path in held):
            return {}
        try:
            with explaining_memory(lambda: lower(SMALLER)):
                return dict(zip(held, self._predictor.predict(list(held.values()), self._method), strict=True))
        except Interrupted:
            raise
        except SegzooError:
            return {}

    def _read(self, path: Path) -> Pixels:
        return read_image(path, channels=self._predictor.description.in_channels, max_pixels=self._max_pixels)

    def _predict_in_parts(self, path: Path, targets: Targets) -> None:
        channels = self._predictor.description.in_channels
        with open_rows(path, channels=channels, max_pixels=self._max_pixels) as rows:
            blocks = self._predictor.blocks(rows.read, rows.size, self._method)
            write_mask_in_parts(targets.mask, blocks, rows.size, self._predictor.palette)
        self._done(targets.mask)

    def _write(self, path: Path, image: Pixels, labels: Pixels | None) -> None:
        targets, palette, names = self._targets[path], self._predictor.palette, self._predictor.classes
        # The mask comes last: where it is, all of an image is.
        if "probabilities" in targets.extras:
            labels, probabilities = self._predictor.examine(image, self._method)
            write_probabilities(targets.probabilities, probabilities, names)
        elif labels is None:
            labels = self._predictor(image, self._method)
        if "overlay" in targets.extras:
            write_overlay(targets.overlay, image, labels, palette)
        if "geojson" in targets.extras:
            write_contours(targets.contours, labels, names)
        if self._coco is not None:
            self._coco.add(str(path), labels)
        write_mask(targets.mask, labels, palette)
        self._done(targets.mask)

    def _done(self, mask: Path) -> None:
        self.masks.append(mask)
        self._written(mask)

    @contextmanager
    def _reporting(self, path: Path) -> Iterator[None]:
        """Keep what is wrong with an image from stopping the others."""
        try:
            with explaining_memory(lambda: lower(SMALLER)):
                yield
        except Interrupted:
            raise
        except SegzooError as error:
            # A fault of a file names it already.
            told = error.finding.message if isinstance(error, FileFault) else str(error)
            self.faults[path] = told
            logger.warning("%s: %s", printable(str(path)), printable(told))


def _starts_like_tiff(path: Path) -> bool:
    try:
        return path.is_file() and is_tiff(path)
    except OSError:  # told when it is read
        return False


def _area(image: Pixels) -> int:
    height: int = image.shape[0]
    width: int = image.shape[1]
    return height * width
