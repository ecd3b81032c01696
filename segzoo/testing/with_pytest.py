"""The kit as tests of pytest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from segzoo.spec import ModelSpec
from segzoo.testing.checks import Check, select
from segzoo.testing.subject import SkippedCheck, Subject, subject_of


def parametrize_with_checks(models: Sequence[str | ModelSpec], *, quick: bool = False) -> Callable[..., Any]:
    """Make one test of each model and check; the test has the arguments ``spec`` and ``check``.

    ::

        @parametrize_with_checks([UNET_LITE])
        def test_contract(spec, check):
            check(spec)

    Failures that the spec expects must fail; checks that cannot run are skipped with the reason.

    Args:
        models: Specs, or names of registered models.
        quick: Leave out the checks that compute.
    """
    import pytest

    shelf = _Shelf()
    cases = []
    for model in models:
        spec = model if isinstance(model, ModelSpec) else subject_of(model).spec
        for check in select(quick=quick, only=()):
            expected = spec.expected_failures.get(check.name)
            marks = () if expected is None else (pytest.mark.xfail(reason=expected, strict=True),)
            cases.append(pytest.param(spec, _Case(check, shelf), id=f"{spec.name}-{check.name}", marks=marks))
    return pytest.mark.parametrize(("spec", "check"), cases)


class _Shelf:
    """Keeps the networks of the model that was tested last: the next test is most likely of the same."""

    def __init__(self) -> None:
        self._subject: Subject | None = None

    def subject(self, spec: ModelSpec) -> Subject:
        """Return the subject of a spec."""
        if self._subject is None or self._subject.spec is not spec:
            self._subject = None  # lets the networks go before the next are built
            self._subject = subject_of(spec)
        return self._subject


class _Case:
    """A check that a test calls with a spec."""

    def __init__(self, check: Check, shelf: _Shelf) -> None:
        self._check = check
        self._shelf = shelf

    def __call__(self, spec: ModelSpec) -> None:
        """Run the check, or skip the test."""
        import pytest

        __tracebackhide__ = True
        try:
            self._check.run(self._shelf.subject(spec))
        except SkippedCheck as reason:
            pytest.skip(str(reason))
