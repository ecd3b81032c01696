"""``segzoo show``: what is known of one model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from segzoo.catalog import BUILTIN_SPECS
from segzoo.spec import ModelSpec

Run = Callable[..., Result]


def row(result: Result) -> dict[str, Any]:
    """Return the one row of a command that printed JSON."""
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["schema_version"] == 1
    (found,) = content["rows"]
    return found


@pytest.mark.parametrize("spec", BUILTIN_SPECS, ids=lambda spec: spec.name)
def test_json_holds_the_whole_spec(run: Run, spec: ModelSpec) -> None:
    """One row with the id, the origin, every field of the spec, and the schema of each parameter."""
    found = row(run("show", spec.name, "--json"))
    assert found["id"] == f"segzoo/{spec.name}"
    assert (found["distribution"], found["status"]) == ("segzoo", "ok")
    assert set(found) == (set(ModelSpec.model_fields) - {"name"}) | {"id", "distribution", "version", "status"}
    assert list(found["params"]) == list(spec.params.model_fields)
    assert found["papers"] == list(spec.papers)
    assert set(found["weights"]) == set(spec.weights)


def test_table_tells_parameters(run: Run) -> None:
    """A person reads names, types, defaults and meanings; fields without content are left out."""
    lines = run("show", "unet_resnet34").stdout.splitlines()
    told = {line.split()[0]: line for line in lines if line}
    assert told["id"].split() == ["id", "segzoo/unet_resnet34"]
    assert told["papers"].split(maxsplit=1)[1] == "arXiv:1505.04597, arXiv:1512.03385"
    assert '"se" | "scse" | null' in told["attention"]
    assert "squeeze-and-excitation" in told["attention"]
    assert "[256, 128, 64, 32, 16]" in told["decoder_channels"]
    assert "deprecated" not in told
    assert "aux" not in told


def test_table_tells_where_encoders_are_listed(run: Run) -> None:
    """Whoever can choose one learns how to see them; whoever cannot does not."""
    (line,) = [line for line in run("show", "smp_dpt").stdout.splitlines() if line.startswith("encoder ")]
    assert line.endswith("All of them: segzoo show smp_dpt --encoders")
    for name in ("unet_resnet34", "aspp_resnet18", "segnet"):
        assert "--encoders" not in run("show", name).stdout


def test_model_without_parameters(run: Run) -> None:
    """It says so, instead of showing an empty table."""
    assert run("show", "segnet_pets").stdout.splitlines()[-1] == "no parameters"


def test_plugin_is_shown_by_its_id(run: Run, offer: Callable[..., Path]) -> None:
    """A shadowed model is reached by its id, and its status says why its name leads elsewhere."""
    offer("acme-seg", "segnet", version="2.3", weights={})
    found = row(run("show", "acme-seg/segnet", "--json"))
    assert (found["status"], found["version"], found["summary"]) == ("shadowed", "2.3", "What segnet is")
    assert found["params"]["width"]["default"] == 8
    assert row(run("show", "segnet", "--json"))["distribution"] == "segzoo"


def test_deprecation_is_told_beside_the_data(run: Run, offer: Callable[..., Path]) -> None:
    """The warning goes to stderr, so that stdout stays JSON."""
    offer("acme-seg", "lite", deprecated="use segnet")
    result = run("show", "lite", "--json")
    assert row(result)["status"] == "deprecated"
    assert result.stderr.splitlines() == ["WARNING: the model acme-seg/lite is deprecated: use segnet"]


def test_broken_plugin_is_the_environments_fault(
    refused: Callable[..., str], run: Run, install: Callable[..., Path]
) -> None:
    """Only using it fails: exit code 3, the reason in one message, the cause with ``--debug``."""
    install("bad-seg", {"lite": "bad_seg:SPEC"}, "raise RuntimeError('no luck')")
    message = "the plugin bad-seg/lite (bad_seg:SPEC) is broken: RuntimeError: no luck"
    assert refused("show", "lite", code=3) == message
    debugged = run("show", "lite", "--debug")
    assert debugged.exit_code == 3
    assert "bad_seg.py" in debugged.stderr
    assert "The above exception was the direct cause" in debugged.stderr
    assert debugged.stderr.endswith(f"error: {message}\n")


def test_names_that_lead_nowhere(refused: Callable[..., str], offer: Callable[..., Path]) -> None:
    """A typo is the user's fault, a missing package the environment's, a shared name again the user's."""
    assert refused("show", "segnt").startswith("no model named 'segnt'. Did you mean 'segnet'")
    assert refused("show", "no-such-seg/x", code=3).endswith("pip install --editable FOLDER)")
    offer("acme-seg", "lite")
    offer("beta-seg", "lite")
    assert refused("show", "lite") == ("the model name 'lite' is ambiguous: write one of acme-seg/lite, beta-seg/lite")
