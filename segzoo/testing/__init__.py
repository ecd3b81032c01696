"""The contract kit: what every model must keep, for the built-ins and for third parties.

``check_model("segnet").raise_if_failed()`` runs it, ``segzoo check`` prints it, and ``parametrize_with_checks`` makes
tests of it. A model whose spec declares ``aux`` returns, in training mode only, a dict of ``"logits"`` and these names,
each ``(N, num_classes, H, W)``; every model returns a plain tensor of logits in evaluation mode.
"""

from __future__ import annotations

from segzoo.testing.check_report import CheckRow, Report, check_model
from segzoo.testing.checks import CHECKS, Check, select
from segzoo.testing.subject import ContractError
from segzoo.testing.with_pytest import parametrize_with_checks

__all__ = ["CHECKS", "Check", "CheckRow", "ContractError", "Report", "check_model", "parametrize_with_checks", "select"]
