"""A report is JSON that can be read again, and an error that says what is wrong."""

from __future__ import annotations

from segzoo.export.parity_report import Calibration, ExportReport, OutputComparison, ParityError, Speed

REPORT = ExportReport(
    file="m.onnx",
    sha256="0" * 64,
    bytes=10,
    model="segzoo/fast_scnn",
    format="onnx",
    precision="int8",
    open_dimensions=("batch",),
    fixed_dimensions={"height": "why"},
    exported_at=(8, 8),
    split="val",
    comparisons=(
        OutputComparison(
            size=(8, 8),
            images=1,
            max_difference=None,
            undecided=0.0,
            decided_difference=None,
            changed=0.5,
            mean_iou=0.5,
            exported_mean_iou=None,
            miou_lost=None,
        ),
    ),
    gate="loss of mean IoU up to 0.01",
    calibration=Calibration(split="val", images=2, compared=0),
    speed=Speed(size=(8, 8), threads=1, rounds=2, fp32_ms=2.0, int8_ms=1.0, speed_up=2.0),
    faults=("at 8x8 pixels logits are not finite", "another"),
)


def test_round_trip() -> None:
    """What is written is what was found."""
    assert ExportReport.model_validate_json(REPORT.model_dump_json()) == REPORT


def test_error_names_file_and_faults() -> None:
    """The message has every fault, the error the report."""
    error = ParityError(REPORT)
    assert str(error) == "m.onnx was not written: at 8x8 pixels logits are not finite; another"
    assert error.report is REPORT
    assert error.exit_code == 1
