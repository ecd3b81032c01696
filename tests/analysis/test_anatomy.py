"""Where the cost of a model lies."""

from __future__ import annotations

import pytest

from segzoo.analysis.anatomy import DEPTH, MOST, examine, in_words
from segzoo.analysis.receptive_field import AxisField


def test_the_dearest_modules_of_a_model() -> None:
    """Modules are named down to a depth, few are shown, and encoder, decoder and head make up the whole."""
    (found,) = examine(["segzoo/fast_scnn"], (64, 96), fields=False)
    names = [module.name for module in found.modules]
    assert len(names) <= MOST
    assert max(name.count(".") for name in names) == DEPTH - 1
    outermost = [module.gmacs for module in found.modules if "." not in module.name]
    assert sum(outermost) == pytest.approx(found.gmacs, rel=0.01)
    assert found.receptive_field is None


def test_receptive_fields_are_found_on_demand() -> None:
    """A model that pools the whole image sees it all."""
    (found,) = examine(["segzoo/fast_scnn"], (64, 64), fields=True)
    assert str(found.receptive_field).startswith("global (")


def test_a_model_that_is_gone_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A result may hold models that are no longer installed."""
    assert examine(["gone/net"], (64, 64), fields=False) == []
    assert caplog.messages[0].startswith("the modules of gone/net are not counted: MissingDistribution: ")


@pytest.mark.parametrize(
    ("height", "width", "text"),
    [
        (AxisField(196, 196, ""), AxisField(196, 196, ""), "196 x 196 pixels"),
        (AxisField(188, 204, ""), AxisField(3, 3, ""), "188 to 204 x 3 pixels"),
        (AxisField(None, None, "mean"), AxisField(None, None, "mean"), "global (mean)"),
    ],
)
def test_fields_are_told_in_words(height: AxisField, width: AxisField, text: str) -> None:
    """One number where all outputs have it, a range where they differ."""
    assert in_words(height, width) == text
