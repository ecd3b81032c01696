"""What is told of an export: what the file is, how it compares, how fast it is. Needs no torch."""

from __future__ import annotations

from segzoo.errors import SegzooError
from segzoo.spec import Frozen


class OutputComparison(Frozen):
    """What a file says of the same images as its original.

    Args:
        size: Height and width of the images.
        images: How many were compared.
        max_difference: Largest difference of two logits; None where it is not finite.
        undecided: Share of the pixels, 0 to 1, that differ by more than the gate allows and whose logits rounding alone
            moves by as much; see ``segzoo.export.stability``.
        decided_difference: Largest difference of two logits of all other pixels.
        changed: Share of the pixels whose label changed, 0 to 1, at the masks' resolution.
        mean_iou: Of the original on these images; None where no pixel is scored.
        exported_mean_iou: Of the file.
        miou_lost: The first less the second; below 0 where the file is better.
    """

    size: tuple[int, int]
    images: int
    max_difference: float | None
    undecided: float
    decided_difference: float | None
    changed: float
    mean_iou: float | None
    exported_mean_iou: float | None
    miou_lost: float | None


class Calibration(Frozen):
    """What the ranges of int8 numbers were taken from.

    Args:
        split: The split.
        images: How many of its images.
        compared: How many of these the gate compares as well.
    """

    split: str
    images: int
    compared: int


class Speed(Frozen):
    """How long one image takes in onnxruntime on this machine's CPU.

    Args:
        size: Height and width of the image.
        threads: Threads that computed.
        rounds: Times that each was measured, in turn.
        fp32_ms: Median of the file before its numbers were made shorter, in milliseconds.
        int8_ms: Median of the file.
        speed_up: The first over the second.
    """

    size: tuple[int, int]
    threads: int
    rounds: int
    fp32_ms: float
    int8_ms: float
    speed_up: float


class ExportReport(Frozen):
    """An export, and the proof of it.

    Args:
        file: The file, which is there where nothing is at fault.
        sha256: Its checksum.
        bytes: Its size.
        model: The model's full id.
        format: Its format.
        precision: Its numbers.
        open_dimensions: Which dimensions of an image are open.
        fixed_dimensions: Which of them the model cannot leave open, with the reasons.
        exported_at: Height and width that the export was made with.
        split: The split that the comparisons were made on.
        comparisons: How file and original compare, size by size.
        gate: What had to hold.
        calibration: For int8.
        speed: For int8.
        faults: What does not hold.
    """

    schema_version: int = 1
    file: str
    sha256: str
    bytes: int
    model: str
    format: str
    precision: str
    open_dimensions: tuple[str, ...]
    fixed_dimensions: dict[str, str]
    exported_at: tuple[int, int]
    split: str
    comparisons: tuple[OutputComparison, ...]
    gate: str
    calibration: Calibration | None
    speed: Speed | None
    faults: tuple[str, ...]


class ParityError(SegzooError):
    """An export says something else than its original; the file was not kept.

    Args:
        report: What was found.
    """

    def __init__(self, report: ExportReport) -> None:
        super().__init__(f"{report.file} was not written: {'; '.join(report.faults)}")
        self.report = report
