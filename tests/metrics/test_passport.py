"""A passport tells what a score was taken on."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from segzoo.metrics import Passport

PASSPORT = Passport(split="val", images=1449, ignore_index=255, image_size=(360, 480))


def test_one_line() -> None:
    """Split, images, sizes, reduction and void stand in one line."""
    assert PASSPORT.line == (
        "val, 1449 images, network input 360x480, scored at the masks' resolution, "
        "one confusion matrix over the split, label 255 ignored"
    )


def test_every_entry_is_told() -> None:
    """No field is missing from the table."""
    shown = dict(PASSPORT.facts)
    assert len(shown) == len(Passport.model_fields)
    assert shown["images"] == "1,449"
    assert shown["network input"] == "height 360, width 480 pixels"
    own = PASSPORT.model_copy(update={"image_size": None})
    assert dict(own.facts)["network input"] == "each image's own size"
    seen = own.model_copy(update={"window": (512, 768), "augmentations": ("flip", "scales")})
    assert "network input in windows of 512x768, averaged over flip and scales, scored" in seen.line
    assert dict(seen.facts)["windows"] == "512x768 pixels, overlapping"
    assert dict(seen.facts)["test-time augmentation"] == "flip and scales"


def test_survives_json() -> None:
    """What is written beside a score can be read again; a passport with a missing entry is none."""
    assert Passport.model_validate_json(PASSPORT.model_dump_json()) == PASSPORT
    with pytest.raises(ValidationError):
        Passport.model_validate_json('{"split": "val"}')
