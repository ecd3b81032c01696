"""What the formats on disk share: a source whose samples are pairs of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from segzoo.data.images import MaskMode, read_image, read_mask
from segzoo.data.source import Pixels, Sample
from segzoo.errors import DataError
from segzoo.recipe.data import ClassEntry


@dataclass(frozen=True)
class FileSource:
    """Images and masks in files.

    Args:
        classes: Names and colours by label.
        ignore_index: The label that is neither trained nor scored.
        splits: The samples of each split, sorted by name.
        mask_mode: How masks are read.
        ignore_labels: Labels in the files that become ``ignore_index``.
    """

    classes: tuple[ClassEntry, ...]
    ignore_index: int
    splits: Mapping[str, tuple[Sample, ...]]
    mask_mode: MaskMode = "index"
    ignore_labels: tuple[int, ...] = ()

    @property
    def settings(self) -> str:
        """JSON of what decides how a mask file becomes labels."""
        colors = [entry.color for entry in self.classes] if self.mask_mode == "rgb" else None
        return json.dumps([self.mask_mode, self.ignore_index, self.ignore_labels, colors])

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Return image and mask of a sample.

        Raises:
            DataError: If a file cannot be read or does not fit the mask mode.
        """
        if sample.image is None or sample.mask is None:
            raise DataError(f"{sample.name}: not a sample of this data")
        image, mask = read_image(sample.image), read_mask(sample.mask, self.mask_mode, self.classes)
        for label in self.ignore_labels:
            mask[mask == label] = self.ignore_index
        return image, mask
