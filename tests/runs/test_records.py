"""What run.json keeps of a run's own checks can be read back and shown."""

from __future__ import annotations

import pytest

from segzoo.runs.records import AuditRecord, BatchRecord, ChannelRecord, PassesRecord

CHANNELS = (ChannelRecord(mean=-0.5, std=1.0, min=-2.0, max=2.0), ChannelRecord(mean=0.25, std=0.5, min=-1.0, max=2.5))
BATCH = BatchRecord(
    images=1200,
    size=(32, 48),
    channels=CHANNELS,
    labels=(0, 3),
    classes=("sky", "road"),
    known_classes=4,
    ignored=0.5,
)
PASSES = PassesRecord(images=2, equal=True, largest_difference=0.0)
AUDIT = AuditRecord(parts=("encoder",), parameters=1062, buffers=3, epochs=5, unchanged=True, passes=PASSES)


@pytest.mark.parametrize("record", [BATCH, AUDIT])
def test_json_round_trip(record: BatchRecord | AuditRecord) -> None:
    """What is written is what is read."""
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_batch_in_words() -> None:
    """Mean and deviation of each channel, the range of all, and the labels with what is ignored."""
    assert BATCH.facts == [
        (
            "first batch",
            "1,200 x 32x48 pixels, normalised to mean -0.50 0.25, std 1.00 0.50, range -2.00 to 2.50",
        ),
        ("first labels", "0 to 3, 2 of 4 classes, 50.0% ignored"),
    ]
    ignored = BATCH.model_copy(update={"labels": None, "classes": (), "ignored": 1.0})
    assert ignored.facts[1] == ("first labels", "none, 0 of 4 classes, 100.0% ignored")


def test_audit_in_words() -> None:
    """Parts, tensors and epochs, and whether two passes agree; a difference has its size."""
    assert AUDIT.facts == [
        ("frozen encoder", "1,062 parameters and 3 buffers, unchanged; epochs audited: 5"),
        ("two evaluation passes", "logits equal to the bit; images scored: 2"),
    ]
    apart = PASSES.model_copy(update={"equal": False, "largest_difference": 0.0123})
    assert AUDIT.model_copy(update={"passes": apart}).facts[1] == (
        "two evaluation passes",
        "logits up to 0.012 apart; images scored: 2",
    )
