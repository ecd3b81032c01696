"""The kit in a third party's pytest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segzoo.spec import ModelSpec
from segzoo.testing import CHECKS, parametrize_with_checks

NETWORK = """
import torch
from torch import nn
from torch.nn import functional as F

class Network(nn.Module):
    def __init__(self, in_channels, num_classes, noise):
        super().__init__()
        self.encoder = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.head = nn.Conv2d(4, num_classes, 1)
        self.noise = noise

    def forward(self, image):
        return F.dropout(self.head(self.encoder(image)), 0.1, training=self.noise)

def build(params, *, in_channels, num_classes):
    return Network(in_channels, num_classes, noise=False)

def build_noisy(params, *, in_channels, num_classes):
    return Network(in_channels, num_classes, noise=True)
"""
TESTS = """
from segzoo import ModelSpec, Params
from segzoo.testing import parametrize_with_checks

class Nothing(Params):
    pass

def spec(name, builder, **fields):
    return ModelSpec(
        name=name, summary="A network", family="test", builder=f"networks:{builder}", params=Nothing, license="MIT",
        **fields,
    )

MODELS = [
    spec("good", "build"),
    spec("noisy", "build_noisy"),
    spec("excused", "build_noisy", expected_failures={"two_eval_passes": "random by design"}),
    spec("outdated", "build", expected_failures={"two_eval_passes": "once it was random"}),
    "acme-seg/offered",
]

@parametrize_with_checks(MODELS)
def test_contract(spec, check):
    check(spec)
"""


def test_outcomes(tmp_path: Path, offer: Callable[..., Path]) -> None:
    """Each check is a test: faults fail, excused ones are expected to, excuses without need fail, skips say why."""
    offer("acme-seg", "offered")
    (tmp_path / "networks.py").write_text(NETWORK)
    (tmp_path / "test_models.py").write_text(TESTS)
    paths = os.pathsep.join((str(tmp_path), os.environ["PYTHONPATH"]))
    checks = "spec_without_torch or two_eval_passes or parts"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-v",
            "-rs",
            "-p",
            "no:cacheprovider",
            "-W",
            "error",
            "-k",
            checks,
            str(tmp_path),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    found = dict(re.findall(r"::test_contract\[([\w-]+)\] ([A-Z]+)", done.stdout))
    assert found == {
        "good-spec_without_torch": "SKIPPED",
        "good-parts": "PASSED",
        "good-two_eval_passes": "PASSED",
        "noisy-spec_without_torch": "SKIPPED",
        "noisy-parts": "PASSED",
        "noisy-two_eval_passes": "FAILED",
        "excused-spec_without_torch": "SKIPPED",
        "excused-parts": "PASSED",
        "excused-two_eval_passes": "XFAIL",
        "outdated-spec_without_torch": "SKIPPED",
        "outdated-parts": "PASSED",
        "outdated-two_eval_passes": "FAILED",
        "offered-spec_without_torch": "PASSED",
        "offered-parts": "FAILED",  # its builder does not exist
        "offered-two_eval_passes": "FAILED",
    }, done.stdout + done.stderr
    assert "[XPASS(strict)] once it was random" in done.stdout
    assert "no entry point offers this spec" in done.stdout
    assert "ContractError: two passes over one image differ" in done.stdout


def cases(decorate: Callable[..., Any]) -> list[Any]:
    """Return the parameters that a decorator gives to a test."""

    def test(spec: ModelSpec, check: Callable[[ModelSpec], None]) -> None:
        check(spec)

    (mark,) = decorate(test).pytestmark
    assert mark.args[0] == ("spec", "check")
    return list(mark.args[1])


def test_one_test_for_each_model_and_check() -> None:
    """Names and specs give the same tests, with ids that a person can select by; ``quick`` leaves some out."""
    from segzoo.plugins import get_spec

    by_name, by_spec = (cases(parametrize_with_checks([model])) for model in ("segnet", get_spec("segnet")))
    assert [case.id for case in by_name] == [f"segnet-{name}" for name in CHECKS]
    assert [case.id for case in by_spec] == [case.id for case in by_name]
    assert all(case.values[0] is get_spec("segnet") for case in by_name)
    quick = cases(parametrize_with_checks(["segnet", "unet_resnet18"], quick=True))
    assert len(quick) == 2 * sum(check.quick for check in CHECKS.values())


def test_networks_are_shared_by_the_tests_of_a_model(toys: Any) -> None:
    """Two tests of one model build once; another model's test lets its networks go."""
    built: list[str] = []

    class Counted(toys.Network):
        def __init__(self, **channels: int) -> None:
            super().__init__(**channels)
            built.append("a")

    first, second = toys.spec(Counted, name="first"), toys.spec(Counted, name="second")
    tests = {case.id: case.values for case in cases(parametrize_with_checks([first, second]))}
    for name in ("first-evaluates", "first-two_eval_passes"):
        spec, check = tests[name]
        check(spec)
    assert len(built) == 1
    for name in ("second-evaluates", "first-evaluates"):
        spec, check = tests[name]
        check(spec)
    assert len(built) == 3
