"""The table of checks: their names are what specs and users write."""

from __future__ import annotations

from typing import Any

import pytest

from segzoo.errors import UnknownName, UsageFault
from segzoo.testing.checks import CHECKS, select

QUICK = [
    "spec_without_torch",
    "known_names",
    "strict_params",
    "json_round_trip",
    "license_is_spdx",
    "parts",
    "logits_shape",
    "channels",
    "auxiliary_outputs",
]
COMPUTING = [
    "evaluates",
    "two_eval_passes",
    "deterministic_build",
    "state_dict",
    "moves_to_meta",
    "batch_two_trains",
    "batch_one_trains",
    "gradients",
    "freeze_encoder",
    "onnx_export",
]


def test_names_and_order() -> None:
    """Names of checks stand in specs and command lines, so they are decided here; the quick ones come first."""
    assert [name for name, check in CHECKS.items() if check.quick] == QUICK
    assert list(CHECKS) == QUICK + COMPUTING


def test_each_says_what_it_checks() -> None:
    """Every check has one sentence for lists."""
    for check in CHECKS.values():
        assert check.summary.endswith(".")
        assert "\n" not in check.summary


def test_a_good_network_passes_every_check(toys: Any) -> None:
    """The network that all faulty ones derive from has no fault."""
    assert toys.faults() == {}


def test_selection() -> None:
    """``quick`` and ``only`` narrow the table down and keep its order."""
    assert [check.name for check in select(quick=True, only=())] == QUICK
    assert [check.name for check in select(quick=False, only=["gradients", "parts"])] == ["parts", "gradients"]
    assert [check.name for check in select(quick=True, only=["parts"])] == ["parts"]


def test_wrong_selection_is_told() -> None:
    """A typo gets a suggestion, and a check that would silently not run is refused."""
    with pytest.raises(UnknownName, match=r"no check named 'gradient'. Did you mean 'gradients'\?"):
        select(quick=False, only=["gradient"])
    with pytest.raises(UsageFault, match="the check 'gradients' is not a quick one"):
        select(quick=True, only=["gradients"])


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        (
            {"expected_failures": {"gradient": "why"}},
            "expected_failures names 'gradient', which does not exist. Did you mean 'gradients'?",
        ),
        (
            {"fixed_export_dims": {"hight": "why"}},
            "fixed_export_dims names 'hight', which does not exist. Did you mean 'height'?",
        ),
    ],
)
def test_known_names(toys: Any, fields: dict[str, object], detail: str) -> None:
    """An exception that is spelt wrongly would excuse nothing."""
    assert toys.faults(**fields) == {"known_names": detail}
