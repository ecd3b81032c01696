"""What a score was taken on, and how: without it a number cannot be compared with another."""

from __future__ import annotations

from segzoo.metrics.bootstrap import LEVEL, RESAMPLES
from segzoo.metrics.boundary import TOLERANCE
from segzoo.spec import Frozen


class Passport(Frozen):
    """Goes beside every score, in files, reports and messages.

    Args:
        split: The split that was scored.
        images: How many images it has.
        ignore_index: The label that is not scored.
        image_size: Height and width in pixels that the network saw; None is each image's own.
        window: Height and width of the windows in which it saw images of their own size; None saw them whole.
        augmentations: What predictions are averaged over.
        reduction: How pixels become one number.
        resolution: At which resolution labels are compared.
        absent: What becomes of classes that do not occur.
        interval: What the intervals are.
        boundary: What the boundary scores are.
    """

    split: str
    images: int
    ignore_index: int
    image_size: tuple[int, int] | None
    window: tuple[int, int] | None = None
    augmentations: tuple[str, ...] = ()
    reduction: str = "one confusion matrix over the split"
    resolution: str = "each mask's own, to which logits are resized bilinearly"
    absent: str = "left out of the means: for IoU and Dice classes neither true nor predicted, for accuracy never true"
    interval: str = f"{LEVEL:.0%} percentile bootstrap over images, {RESAMPLES} resamples"
    boundary: str = (
        f"boundary F1 per class within {TOLERANCE:.2%} of the diagonal, mean over an image's classes, then over images"
    )

    @property
    def line(self) -> str:
        """The shortest form, for a line of text."""
        size = f"{self.image_size[0]}x{self.image_size[1]}" if self.image_size else "own"
        if self.window:
            size = f"in windows of {self.window[0]}x{self.window[1]}"
        if self.augmentations:
            size += f", averaged over {' and '.join(self.augmentations)}"
        return (
            f"{self.split}, {self.images} images, network input {size}, scored at the masks' resolution, "
            f"{self.reduction}, label {self.ignore_index} ignored"
        )

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Every entry with its name, for a table."""
        size = self.image_size
        return [
            ("split", self.split),
            ("images", f"{self.images:,}"),
            ("reduction", self.reduction),
            ("resolution", self.resolution),
            ("network input", f"height {size[0]}, width {size[1]} pixels" if size else "each image's own size"),
            ("windows", f"{self.window[0]}x{self.window[1]} pixels, overlapping" if self.window else "none"),
            ("test-time augmentation", " and ".join(self.augmentations) or "none"),
            ("ignored label", str(self.ignore_index)),
            ("absent classes", self.absent),
            ("intervals", self.interval),
            ("boundary scores", self.boundary),
        ]
