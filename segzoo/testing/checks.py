"""The checks, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from segzoo.errors import UnknownName, UsageFault, did_you_mean
from segzoo.export.tracing import DIMENSIONS
from segzoo.testing import evaluation_checks, export_check, shape_checks, spec_checks, training_checks
from segzoo.testing.subject import ContractError, Subject


@dataclass(frozen=True)
class Check:
    """One rule of the contract.

    Args:
        run: Raises if the model breaks the rule; its name is the check's.
        quick: Whether it computes next to nothing.
    """

    run: Callable[[Subject], None]
    quick: bool

    @property
    def name(self) -> str:
        """The name under which a spec's ``expected_failures`` and the command line know the check."""
        return self.run.__name__

    @property
    def summary(self) -> str:
        """The rule in one sentence."""
        return (self.run.__doc__ or "").strip()


def known_names(subject: Subject) -> None:
    """``expected_failures`` names checks of this kit, and ``fixed_export_dims`` dimensions of an image."""
    _must_be_known("expected_failures", subject.spec.expected_failures, CHECKS)
    _must_be_known("fixed_export_dims", subject.spec.fixed_export_dims, DIMENSIONS)


def _must_be_known(field: str, names: Iterable[str], choices: Iterable[str]) -> None:
    for name in names:
        if name not in choices:
            raise ContractError(f"{field} names {name!r}, which does not exist.{did_you_mean(name, choices)}")


_QUICK = (
    spec_checks.spec_without_torch,
    known_names,
    spec_checks.strict_params,
    spec_checks.json_round_trip,
    spec_checks.license_is_spdx,
    shape_checks.parts,
    shape_checks.logits_shape,
    shape_checks.channels,
    shape_checks.auxiliary_outputs,
)
_FULL = (
    evaluation_checks.evaluates,
    evaluation_checks.two_eval_passes,
    evaluation_checks.deterministic_build,
    evaluation_checks.state_dict,
    evaluation_checks.moves_to_meta,
    training_checks.batch_two_trains,
    training_checks.batch_one_trains,
    training_checks.gradients,
    training_checks.freeze_encoder,
    export_check.onnx_export,
)

CHECKS: Mapping[str, Check] = {
    check.name: check
    for check in (*(Check(run, quick=True) for run in _QUICK), *(Check(run, quick=False) for run in _FULL))
}
"""Every check by name."""


def select(*, quick: bool, only: Sequence[str]) -> list[Check]:
    """Return the checks to run, in order.

    Raises:
        UnknownName: If ``only`` names no check; the nearest is suggested.
        UsageFault: If ``only`` names a check that ``quick`` leaves out.
    """
    for name in only:
        if name not in CHECKS:
            raise UnknownName("check", name, CHECKS)
        if quick and not CHECKS[name].quick:
            raise UsageFault(f"the check {name!r} is not a quick one; ask for it without quick")
    return [check for check in CHECKS.values() if (not quick or check.quick) and (not only or check.name in only)]
