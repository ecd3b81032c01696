"""What the formats on disk share: a source whose samples are pairs of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from segzoo.data.files.images import MaskMode, read_image, read_mask
from segzoo.data.files.quick import quick_image, quick_mask
from segzoo.data.source import Pixels, Sample, Source
from segzoo.errors import DataError
from segzoo.recipe.data import ClassEntry


@dataclass(frozen=True)
class PairSource:
    """Images and masks in files.

    Args:
        classes: Names and colours by label.
        ignore_index: The label that is neither trained nor scored.
        splits: The samples of each split, sorted by name.
        mask_mode: How masks are read.
        ignore_labels: Labels in the files that become ``ignore_index``.
        in_channels: Channels of the images.
        file_classes: The classes whose colours the masks hold, where they are others than ``classes``.
        labels: The label that each value of the masks stands for; values beyond the end are left as they are.
        scanned: Whether all files were read before and found good: plain ones are then decoded more quickly.
    """

    classes: tuple[ClassEntry, ...]
    ignore_index: int
    splits: Mapping[str, tuple[Sample, ...]]
    mask_mode: MaskMode = "index"
    ignore_labels: tuple[int, ...] = ()
    in_channels: int = 3
    file_classes: tuple[ClassEntry, ...] | None = None
    labels: tuple[int, ...] | None = None
    scanned: bool = False

    @property
    def settings(self) -> str:
        """JSON of what decides how the files become images and labels."""
        colors = [entry.color for entry in self.file_classes or self.classes] if self.mask_mode == "rgb" else None
        return json.dumps(
            [self.mask_mode, self.ignore_index, self.ignore_labels, colors, self.in_channels, self.labels]
        )

    def read(self, sample: Sample) -> tuple[Pixels, Pixels]:
        """Return image and mask of a sample.

        Raises:
            FileFault: If a file cannot be read, has another number of bands or does not fit the mask mode.
            DataError: If the sample has no files.
        """
        if sample.image is None or sample.mask is None:
            raise DataError(f"{sample.name}: not a sample of this data")
        image = quick_image(sample.image) if self.scanned and self.in_channels == 3 else None
        if image is None:
            image = read_image(sample.image, channels=self.in_channels)
        mask = quick_mask(sample.mask) if self.scanned and self.mask_mode == "index" else None
        if mask is None:
            mask = read_mask(sample.mask, self.mask_mode, self.file_classes or self.classes)
        if self.labels is not None:
            table = np.arange(256, dtype=np.uint8)
            table[: len(self.labels)] = self.labels
            mask = table[mask]
        for label in self.ignore_labels:
            mask[mask == label] = self.ignore_index
        return image, mask


def after_scan(source: Source) -> Source:
    """Return a source of which a scan has read every sample without a fault, for reading them again."""
    return replace(source, scanned=True) if isinstance(source, PairSource) else source
