"""What came of a model's checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from segzoo.spec import ModelSpec
from segzoo.testing.checks import Check, select
from segzoo.testing.describe import describe
from segzoo.testing.subject import ContractError, SkippedCheck, Subject, subject_of

Status = Literal["passed", "failed", "skipped", "expected_failure", "unexpected_pass"]


@dataclass(frozen=True)
class CheckRow:
    """The outcome of one check; ``detail`` is empty where it passed."""

    check: str
    status: Status
    detail: str


@dataclass(frozen=True)
class Report:
    """The outcome of all checks of one model.

    Args:
        model: The model's id; its bare name where no registry holds it.
        rows: One for each check, in order.
    """

    model: str
    rows: tuple[CheckRow, ...]

    @property
    def total(self) -> int:
        """The number of checks that apply."""
        return len(self.rows)

    @property
    def ran(self) -> int:
        """The number of checks that were not skipped."""
        return sum(row.status != "skipped" for row in self.rows)

    @property
    def faults(self) -> tuple[CheckRow, ...]:
        """The checks that failed, and those that passed although the spec expects them to fail."""
        return tuple(row for row in self.rows if row.status in ("failed", "unexpected_pass"))

    @property
    def ok(self) -> bool:
        """Whether the model keeps the contract."""
        return not self.faults

    def raise_if_failed(self) -> None:
        """Raise an error that lists every fault.

        Raises:
            ContractError: If there is one.
        """
        if not self.ok:
            lines = "".join(f"\n  {row.check}: {row.detail}" for row in self.faults)
            raise ContractError(f"{self.model} breaks the contract:{lines}")


def check_model(model: str | ModelSpec, *, quick: bool = False, only: Sequence[str] = ()) -> Report:
    """Run the contract kit on a model; one check's failure never stops the others.

    Args:
        model: An id, a bare name or an alias, or a spec that need not be registered.
        quick: Leave out the checks that compute.
        only: Names of the checks to run; all where it is empty.

    Raises:
        UnknownName: If there is no such model or check.
        UsageFault: If ``only`` names a check that ``quick`` leaves out.
        PluginError: If the plugin that offers the model is broken.
    """
    checks = select(quick=quick, only=only)
    subject = subject_of(model)
    return Report(subject.id, tuple(_judge(check, subject) for check in checks))


def _judge(check: Check, subject: Subject) -> CheckRow:
    expected = subject.spec.expected_failures.get(check.name)
    try:
        check.run(subject)
    except SkippedCheck as reason:
        return CheckRow(check.name, "skipped", str(reason))
    except (Exception, SystemExit) as error:  # a plugin's code may raise anything
        if expected is None:
            return CheckRow(check.name, "failed", describe(error))
        return CheckRow(check.name, "expected_failure", f"{expected} ({describe(error)})")
    if expected is not None:
        return CheckRow(check.name, "unexpected_pass", f"it passes, although the spec expects it to fail: {expected}")
    return CheckRow(check.name, "passed", "")
