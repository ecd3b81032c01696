"""Exceptions as one line each: what is wrong, and where, if it is a surprise."""

from __future__ import annotations

import pytest
import torch

from segzoo.errors import PluginError
from segzoo.testing.describe import LONGEST, describe
from segzoo.testing.subject import ContractError


@pytest.mark.parametrize("error", [ContractError("no head"), PluginError("no head")])
def test_errors_with_words_of_their_own(error: Exception) -> None:
    """What was written for a reader stands as it is."""
    assert describe(error) == "no head"


def test_surprises_have_a_kind_and_a_place() -> None:
    """Other errors are told with their kind and the innermost line that is not torch's."""
    with pytest.raises(RuntimeError) as caught:
        torch.nn.functional.conv2d(torch.rand(1, 3, 4, 4), torch.rand(1, 2, 1, 1))
    text = describe(caught.value)
    assert text.startswith("RuntimeError: Given groups=1, ")
    assert text.endswith(f" (test_describe.py, line {caught.tb.tb_lineno})")


def test_an_error_that_was_never_raised_has_no_place() -> None:
    """Nothing but its words is known of it."""
    assert describe(KeyError("a")) == "KeyError: 'a'"


def test_long_messages_are_cut() -> None:
    """Pages become one line that says it was cut."""
    text = describe(ContractError("word \n" * 1000))
    assert len(text) <= LONGEST
    assert "\n" not in text
    assert text.endswith("word …")
