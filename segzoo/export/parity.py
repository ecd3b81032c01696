"""The gate of an export: what the file says of real images, beside what the original says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segzoo.data.source import Sample
from segzoo.errors import SegzooError
from segzoo.export.form import TOLERANCE, Form
from segzoo.export.parity_report import OutputComparison
from segzoo.export.stability import find_undecided
from segzoo.export.validation import Validation
from segzoo.inference.exported import Network
from segzoo.metrics import mean_iou
from segzoo.scoring.evaluation import count_image, resize_logits
from segzoo.scoring.scores import finite

MAX_UNDECIDED = 0.1
"""Largest share of pixels that may differ because the model itself leaves them undecided."""


def compare_outputs(
    original: Network,
    exported: Network,
    validation: Validation,
    samples: Sequence[Sample],
    normalise: nn.Module,
    *,
    size: tuple[int, int],
    batch: int,
    exact: bool,
) -> OutputComparison:
    """Run both over the same images and return how far they are apart.

    Args:
        original: The model, in evaluation mode.
        exported: What the file computes.
        validation: The images with their masks.
        samples: Which of them are compared.
        normalise: Maps bytes to the model's input.
        size: Height and width that the images are brought to.
        batch: Images in a batch; the last one may have fewer.
        exact: Whether logits have to agree, so that differences that rounding explains are told apart.

    Raises:
        DataError: If an image or a mask cannot be used.
        SegzooError: If the file cannot be run, or gives logits of another shape.
    """
    difference = decided = torch.zeros(())
    counts = torch.zeros(2, 3, validation.num_classes, dtype=torch.int64)
    changed = pixels = undecided = seen = 0
    with torch.no_grad():
        for first in range(0, len(samples), batch):
            images, masks = zip(
                *(validation.read(sample, size) for sample in samples[first : first + batch]), strict=True
            )
            image = normalise(torch.stack(images))
            expected, actual = original(image), exported(image)
            _check_shape(expected, actual)
            apart = (actual - expected).abs().amax(dim=1)
            difference = torch.maximum(difference, apart.max())
            if exact:
                differs = ~(apart <= TOLERANCE)  # what is not a number differs too
                unstable = find_undecided(original, image, expected, differs, tolerance=TOLERANCE)
                undecided += int(unstable.sum())
                apart = apart.masked_fill(unstable, 0)
            decided = torch.maximum(decided, apart.max())
            seen += apart.numel()
            for index, mask in enumerate(masks):
                labels = [_labels(logits[index : index + 1], mask) for logits in (expected, actual)]
                changed += int((labels[0] != labels[1]).sum())
                pixels += mask.numel()
                counts += torch.stack([_count(label, mask, validation) for label in labels])
    before, after = (finite(float(mean_iou(part))) for part in counts)
    return OutputComparison(
        size=size,
        images=len(samples),
        max_difference=finite(float(difference)),
        undecided=undecided / seen,
        decided_difference=finite(float(decided)),
        changed=changed / pixels,
        mean_iou=before,
        exported_mean_iou=after,
        miou_lost=None if before is None or after is None else before - after,
    )


def find_faults(comparisons: Sequence[OutputComparison], form: Form, *, max_miou_loss: float) -> list[str]:
    """Return what the gate refuses, one sentence for each size; nothing where the export passes.

    Numbers of the original's precision have to give its logits, shorter ones nearly its mean IoU.
    """
    return [
        fault
        for fault in (_exact_fault(each) if form.exact else _loss_fault(each, max_miou_loss) for each in comparisons)
        if fault is not None
    ]


def _exact_fault(found: OutputComparison) -> str | None:
    if found.decided_difference is None:
        return f"at {_words(found)} logits are not finite"
    if found.decided_difference > TOLERANCE:
        return f"at {_words(found)} logits differ by up to {found.decided_difference:.2g}, more than {TOLERANCE:g}"
    if found.undecided > MAX_UNDECIDED:
        return (
            f"at {_words(found)} logits differ by more than {TOLERANCE:g} on {found.undecided:.0%} of the pixels; "
            f"rounding alone moves the model's own there, but {MAX_UNDECIDED:.0%} is the most that is put down to it"
        )
    return None


def _loss_fault(found: OutputComparison, limit: float) -> str | None:
    if found.max_difference is None:
        return f"at {_words(found)} logits are not finite"
    if found.miou_lost is None:
        return (
            f"at {_words(found)} the loss of mean IoU is unknown: no pixel of the validation images has a label that "
            "counts; name data with labelled images"
        )
    if found.miou_lost <= limit:
        return None
    return f"at {_words(found)} it loses {found.miou_lost:.4f} of mean IoU, more than --max-miou-loss {limit:g}"


def _words(found: OutputComparison) -> str:
    return f"{found.size[0]}x{found.size[1]} pixels"


def _check_shape(expected: Tensor, actual: Tensor) -> None:
    if actual.shape != expected.shape:
        raise SegzooError(
            f"the file gives logits of shape {tuple(actual.shape)} where the model gives {tuple(expected.shape)}"
        )


def _labels(logits: Tensor, mask: Tensor) -> Tensor:
    height, width = mask.shape
    return resize_logits(logits, (height, width))[0].argmax(dim=0)


def _count(labels: Tensor, mask: Tensor, validation: Validation) -> Tensor:
    return count_image(labels, mask, num_classes=validation.num_classes, ignore_index=validation.source.ignore_index)
