"""``segzoo check``: the contract kit at the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from segzoo.plugins import default_registry, get_spec

Run = Callable[..., Result]

NETWORK = """
from torch import nn

print("imported")

class Network(nn.Module):
    def __init__(self, in_channels, num_classes, stride):
        super().__init__()
        print("built")
        self.encoder = nn.Conv2d(in_channels, 4, 3, padding=1, stride=stride)
        self.head = nn.Conv2d(4, num_classes, 1)

    def forward(self, image):
        return self.head(self.encoder(image))

def build(params, *, in_channels, num_classes):
    return Network(in_channels, num_classes, stride=1)

def build_small(params, *, in_channels, num_classes):
    return Network(in_channels, num_classes, stride=2)
"""
SPECS = """
from segzoo import ModelSpec, Params

class Nothing(Params):
    pass

def spec(name, builder, **fields):
    return ModelSpec(
        name=name, summary="A network", family="acme", builder=f"acme_nets:{builder}", params=Nothing, license="MIT",
        **fields,
    )

GOOD = spec("good", "build")
SMALL = spec("small", "build_small")
EXCUSED = spec("excused", "build_small", expected_failures={
    name: "half the size" for name in ("logits_shape", "channels", "auxiliary_outputs")
})
OUTDATED = spec("outdated", "build", expected_failures={"parts": "once it had others"})
"""


@pytest.fixture
def acme(install: Callable[..., Path]) -> None:
    """Install a plugin with good and faulty models."""
    install("acme-nets", {}, NETWORK)
    models = {name: f"acme_seg:{name.upper()}" for name in ("good", "small", "excused", "outdated")}
    install("acme-seg", models, SPECS)


@pytest.fixture
def broken(install: Callable[..., Path]) -> None:
    """Install a plugin that cannot be imported."""
    install("bad-seg", {"lite": "bad_seg:SPEC"}, "raise RuntimeError('no luck')")


def cells(line: str) -> list[str]:
    """Return the cells of a table's line."""
    return re.split(r" {2,}", line)


@pytest.mark.usefixtures("acme")
def test_good_model(run: Run) -> None:
    """A model without faults has one line, the count ends the output, and what its code prints is on stderr."""
    result = run("check", "acme-seg/good", "--quick")
    assert result.exit_code == 0, result.stderr
    header, row, count = result.stdout.splitlines()
    assert header.split() == ["model", "check", "status", "detail"]
    assert cells(row) == ["acme-seg/good", "-", "ok", "9/9 checks ran"]
    assert count == "9/9 checks ran"
    assert "1/1 acme-seg/good" in result.stderr
    assert "built" in result.stderr


@pytest.mark.usefixtures("acme")
def test_faults_and_excuses(run: Run) -> None:
    """Each check that did not pass has its line; a fault and an excuse without need end with exit code 1."""
    result = run("check", "acme-seg/*", "--quick")
    assert result.exit_code == 1
    lines = [cells(line) for line in result.stdout.splitlines()]
    found = {tuple(line[:3]) for line in lines[1:-1]}
    shapes = ("logits_shape", "channels", "auxiliary_outputs")
    assert found == {
        ("acme-seg/good", "-", "ok"),
        ("acme-seg/small", "-", "failed"),
        *(("acme-seg/small", check, "failed") for check in shapes),
        ("acme-seg/excused", "-", "ok"),
        *(("acme-seg/excused", check, "expected_failure") for check in shapes),
        ("acme-seg/outdated", "-", "failed"),
        ("acme-seg/outdated", "parts", "unexpected_pass"),
    }
    assert ["acme-seg/small", "logits_shape", "failed", "expected logits (1, 2, 97, 131), got (1, 2, 49, 66)"] in lines
    assert any(line[-1].startswith("half the size (expected logits") for line in lines)
    assert lines[-1] == ["36/36 checks ran"]
    assert result.stderr.endswith("error: 2 of 4 models break the contract: acme-seg/outdated, acme-seg/small\n")


@pytest.mark.usefixtures("acme")
def test_json(run: Run) -> None:
    """Programs get a row for each check, those that passed too; the count is on stderr."""
    result = run("check", "good", "small", "--only", "parts", "--only", "logits_shape", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "schema_version": 1,
        "rows": [
            {"model": "acme-seg/good", "check": "parts", "status": "passed", "detail": ""},
            {"model": "acme-seg/good", "check": "logits_shape", "status": "passed", "detail": ""},
            {"model": "acme-seg/small", "check": "parts", "status": "passed", "detail": ""},
            {
                "model": "acme-seg/small",
                "check": "logits_shape",
                "status": "failed",
                "detail": "expected logits (1, 2, 97, 131), got (1, 2, 49, 66)",
            },
        ],
    }
    assert "4/4 checks ran" in result.stderr


@pytest.mark.usefixtures("acme", "broken")
def test_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is checked once, and a broken plugin is one line, which is a fault."""
    # The attribute `plugins` of the package is a function.
    monkeypatch.setattr(sys.modules["segzoo.plugins"], "BUILTIN_SPECS", (get_spec("segnet_pets"),))
    default_registry.cache_clear()
    result = run("check", "--all", "--only", "parts")
    assert result.exit_code == 1
    lines = [cells(line) for line in result.stdout.splitlines()]
    assert [tuple(line[:3]) for line in lines[1:-1] if line[1] == "-"] == [
        ("segzoo/segnet_pets", "-", "ok"),
        ("acme-seg/excused", "-", "ok"),
        ("acme-seg/good", "-", "ok"),
        ("acme-seg/outdated", "-", "failed"),
        ("acme-seg/small", "-", "ok"),
        ("bad-seg/lite", "-", "broken"),
    ]
    assert lines[-2][3].endswith("is broken: RuntimeError: no luck")
    assert lines[-1] == ["5/5 checks ran"]
    assert "2 of 6 models break the contract: acme-seg/outdated, bad-seg/lite" in result.stderr
    rows = json.loads(run("check", "--all", "--only", "parts", "--json").stdout)["rows"]
    assert [row for row in rows if row["check"] is None] == [
        {"model": "bad-seg/lite", "check": None, "status": "broken", "detail": lines[-2][3]}
    ]


@pytest.mark.usefixtures("acme")
def test_skips_are_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not run is told with the reason, counted, and no fault."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx", sys)
    monkeypatch.setitem(sys.modules, "onnxscript", sys)
    result = run("check", "good", "--only", "onnx_export", "--only", "parts")
    assert result.exit_code == 0
    model, check, status, detail = cells(result.stdout.splitlines()[2])
    assert (model, check, status) == ("acme-seg/good", "onnx_export", "skipped")
    assert detail.startswith("ONNX needs the package 'onnxruntime', which is not installed")
    assert result.stdout.splitlines()[-1] == "1/2 checks ran"


@pytest.mark.usefixtures("acme")
def test_a_model_named_twice_is_checked_once(run: Run) -> None:
    """Names, ids and globs may overlap."""
    result = run("check", "good", "acme-seg/good", "acme-seg/g*", "--only", "parts")
    assert result.stdout.splitlines()[-1] == "1/1 checks ran"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the models to check, or pass --all"),
        (["--all", "segnet"], "name the models to check or pass --all, not both"),
        (["segnt"], "no model named 'segnt'. Did you mean 'segnet'"),
        (["segnt*"], "no model matches 'segnt*'. Did you mean 'segnet'"),
        (["segnet", "--only", "shape"], "no check named 'shape'. The checks are spec_without_torch, known_names, "),
        (["segnet", "--only", "gradient"], "no check named 'gradient'. Did you mean 'gradients'? The checks are "),
        (["segnet", "--quick", "--only", "gradients"], "the check 'gradients' is not a quick one"),
    ],
)
def test_misuse(refused: Callable[..., str], words: list[str], message: str) -> None:
    """A usage error is exit code 2 with the way out, and prints no table."""
    assert refused("check", *words).startswith(message)


@pytest.mark.usefixtures("broken")
def test_a_broken_plugin_that_is_named(refused: Callable[..., str]) -> None:
    """Using a broken plugin is exit code 3 with the cause."""
    assert "is broken: RuntimeError: no luck" in refused("check", "bad-seg/lite", code=3)


def test_a_plugin_that_is_not_installed(refused: Callable[..., str]) -> None:
    """The way to install it is told."""
    assert "pip install acme-seg" in refused("check", "acme-seg/lite", code=3)


@pytest.mark.parametrize("words", [["segnt"], ["--all", "segnet"], []])
def test_wrong_names_are_told_before_torch_is_imported(words: list[str]) -> None:
    """A typo does not cost the seconds that importing torch takes."""
    code = (
        "import sys\nfrom segzoo.cli import app\ntry:\n"
        f"    app(['check', *{words!r}])\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n", done.stderr
