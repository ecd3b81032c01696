"""A report says of each check how it went, and no fault hides another."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.errors import PluginError, UnknownName
from segzoo.testing import CHECKS as ALL
from segzoo.testing import CheckRow, ContractError, Report, check_model

CHECKS = ["spec_without_torch", "parts", "logits_shape", "two_eval_passes"]


@pytest.fixture
def dropping(toys: Any) -> Callable[..., Report]:
    """Return a function that checks a network whose dropout never stops; its arguments are fields of the spec."""

    class Dropping(toys.Network):
        def forward(self, image: Tensor) -> Tensor:
            return F.dropout(super().forward(image), 0.1)

    return lambda **fields: check_model(toys.spec(Dropping, **fields), only=CHECKS)


def test_each_check_has_a_row(dropping: Callable[..., Report]) -> None:
    """Rows stand in the kit's order; what was skipped did not run."""
    report = dropping()
    assert report.model == "toy"
    assert [(row.check, row.status) for row in report.rows] == list(
        zip(CHECKS, ["skipped", "passed", "passed", "failed"], strict=True)
    )
    assert (report.ran, report.total, report.ok) == (3, 4, False)
    assert [row.check for row in report.faults] == ["two_eval_passes"]
    assert report.rows[1].detail == ""


def test_expected_failure(dropping: Callable[..., Report]) -> None:
    """A failure that the spec explains is none, and the report shows both the reason and what happened."""
    report = dropping(expected_failures={"two_eval_passes": "it is random by design"})
    (row,) = (row for row in report.rows if row.status == "expected_failure")
    assert row.detail.startswith("it is random by design (two passes over one image differ by up to ")
    assert (report.ran, report.ok) == (3, True)
    report.raise_if_failed()


def test_unexpected_pass(dropping: Callable[..., Report]) -> None:
    """An excuse that is no longer needed is a fault, so that it does not outlive its reason."""
    report = dropping(expected_failures={"two_eval_passes": "random", "parts": "old"})
    assert [(row.check, row.status, row.detail) for row in report.faults] == [
        ("parts", "unexpected_pass", "it passes, although the spec expects it to fail: old")
    ]
    assert not report.ok


def test_a_skip_is_no_unexpected_pass(dropping: Callable[..., Report]) -> None:
    """What did not run says nothing."""
    report = dropping(expected_failures={"spec_without_torch": "heavy", "two_eval_passes": "random"})
    assert report.ok


def test_raise_if_failed_lists_every_fault() -> None:
    """All faults stand in one message; a good report raises nothing."""
    good = CheckRow("parts", "passed", "")
    bad = (
        CheckRow("gradients", "failed", "no gradient reaches a"),
        CheckRow("state_dict", "unexpected_pass", "it passes"),
    )
    Report("a/b", (good,)).raise_if_failed()
    with pytest.raises(ContractError) as caught:
        Report("a/b", (good, *bad)).raise_if_failed()
    assert str(caught.value) == (
        "a/b breaks the contract:\n  gradients: no gradient reaches a\n  state_dict: it passes"
    )


@pytest.mark.parametrize("error", [SystemExit(3), RuntimeError("no luck")])
def test_whatever_a_builder_raises_is_a_row(toys: Any, error: BaseException) -> None:
    """A builder that ends the process, or fails, fails the checks that build, and no other."""

    def build(**channels: int) -> None:
        raise error

    report = check_model(toys.spec(build), quick=True)
    assert [row.status for row in report.rows] == ["skipped"] + ["passed"] * 4 + ["failed"] * 4
    assert all(type(error).__name__ in row.detail for row in report.faults)


def test_ctrl_c_stops_the_kit(toys: Any) -> None:
    """An interrupt is the user's, not the model's."""

    def build(**channels: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_model(toys.spec(build), quick=True)


def layers() -> int:
    """Return the number of layers in memory."""
    return sum(issubclass(type(found), nn.Module) for found in gc.get_objects())


def test_networks_go_with_the_report(toys: Any) -> None:
    """No layer of one model is left, to be collected some time later, while the next model's are built."""
    gc.collect()
    gc.disable()
    try:
        before = layers()
        assert check_model(toys.spec(), only=[name for name in ALL if name != "onnx_export"]).ok
        assert layers() == before
    finally:
        gc.enable()


def test_names_that_cannot_be_checked(install: Callable[..., Path]) -> None:
    """A check that does not exist and a broken plugin raise instead of reporting."""
    install("bad-seg", {"lite": "bad_seg:SPEC"}, "raise RuntimeError('no luck')")
    with pytest.raises(UnknownName, match="no check named 'shape'"):
        check_model("segnet", only=["shape"])
    with pytest.raises(PluginError, match="no luck"):
        check_model("bad-seg/lite")
