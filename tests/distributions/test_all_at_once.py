"""Every distribution of ``site/`` at once: each breaks alone and is listed with its reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segzoo.catalog import BUILTIN_SPECS

SITE = Path(__file__).with_name("site")

FAULTS = {
    "exiting-seg/exiting": "SystemExit: bye",
    "future-seg/future": "ModelSpec: api_version = 99: api_version 99 is not known to this segzoo, which knows 1 to 1",
    "garbled-seg/?": "the entry points of garbled-seg cannot be read: UnicodeDecodeError: ",
    "lacking-seg/lacking": "ModuleNotFoundError: No module named 'package_that_nobody_installed'",
    "misnamed-seg/Mis-Named": "a model's name has only lower-case letters, digits and underscores",
    "muddled-seg/muddled": "requires: 'numpy two or later' is not a requirement: ",
    "needing-seg/needing": "requires 'package-that-nobody-installed>=2', but package-that-nobody-installed is not",
    "pointing-seg/pointing": "the entry point is not of the form module:attribute",
    "raising-seg/raising": "RuntimeError: no luck",
    "torn-seg/torn": "the metadata of torn-seg cannot be read: ",
}
"""What is wrong with the models that cannot be used at all."""

SOUND = {
    "failing-seg/failing",
    "good-seg/plain",
    "misshapen-seg/misshapen",
    "printing-seg/printing",
    "twin-a-seg/twin",
    "twin-b-seg/twin",
    "unbuilt-seg/unbuilt",
}
"""The models whose specs are good, although some of their networks are not."""


def segzoo_command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would."""
    return python("-m", "segzoo", *words)


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120)


@pytest.fixture(autouse=True)
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install all of them for the processes that a test starts."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(SITE), os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for setting in ("SEGZOO_PLUGINS", "SEGZOO_STRICT_PLUGINS"):
        monkeypatch.delenv(setting, raising=False)


def test_list_for_programs() -> None:
    """Every good model and every fault has a row, with its distribution and the reason, and the command succeeds."""
    done = segzoo_command("list", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["id"]: row for row in json.loads(done.stdout)["rows"]}
    assert {f"segzoo/{spec.name}" for spec in BUILTIN_SPECS} == {key for key in rows if key.startswith("segzoo/")}
    assert {key for key, row in rows.items() if row["distribution"] != "segzoo"} == {
        *FAULTS,
        *SOUND,
        "shadowing-seg/segnet",
    }
    assert {key: row["status"] for key, row in rows.items() if row["status"] != "ok"} == {
        **dict.fromkeys(FAULTS, "broken"),
        "shadowing-seg/segnet": "shadowed",
    }
    for key, reason in FAULTS.items():
        assert rows[key]["error"].startswith(f"the plugin {key} ("), key
        assert f" is broken: {reason}" in rows[key]["error"]
        assert rows[key]["distribution"] == key.partition("/")[0]
    for way in ("print", "the first stdout", "the descriptor", "a child"):
        assert f"hello from {way}" in done.stderr


def test_list_for_people() -> None:
    """A person sees one line for each model, the reason where the summary would stand, and no traceback."""
    done = segzoo_command("list")
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert {f"segzoo/{spec.name}" for spec in BUILTIN_SPECS} | {*FAULTS, *SOUND, "shadowing-seg/segnet"} == set(lines)
    assert all(reason in lines[key] for key, reason in FAULTS.items())
    assert "Traceback" not in done.stderr


def test_plugins_are_told_apart() -> None:
    """``segzoo plugins`` has the same status and error for each, and says where it comes from."""
    listed = {row["id"]: row for row in json.loads(segzoo_command("list", "--json").stdout)["rows"]}
    done = segzoo_command("plugins", "--json")
    assert done.returncode == 0
    rows = {row["id"]: row for row in json.loads(done.stdout)["rows"]}
    assert set(rows) == {*FAULTS, *SOUND, "shadowing-seg/segnet"}
    for key, row in rows.items():
        assert {name: row[name] for name in ("status", "error")} == {
            name: listed[key][name] for name in ("status", "error")
        }
    assert rows["raising-seg/raising"]["target"] == "raising_seg:RAISING"
    # Of an interrupted installation not even the version is known.
    assert {key for key, row in rows.items() if row["version"] != "1.0"} == {"torn-seg/torn"}


def test_malformed_entry_points_are_named() -> None:
    """Pydantic and torch would fail over them; segzoo goes on, and says once what the whole machine suffers from."""
    done = segzoo_command("list")
    for folder in ("garbled_seg-1.0.dist-info", "unrelated-1.0.dist-info"):
        assert done.stderr.count(f"WARNING: ignored the malformed entry points of {folder}: UnicodeDecodeError: ") == 1


def test_using_a_broken_plugin_fails() -> None:
    """Each of them ends with exit code 3 and the reason of the list, and what it raised is chained."""
    code = """
import json, segzoo
faults = {}
for row in segzoo.plugins():
    try:
        segzoo.get_spec(row.id)
    except segzoo.SegzooError as error:
        cause = error.__cause__ and type(error.__cause__).__name__
        faults[row.id] = [error.exit_code, str(error) == row.error, cause]
print(json.dumps(faults))
"""
    done = python("-c", code)
    faults = json.loads(done.stdout)
    assert {key: fault[:2] for key, fault in faults.items()} == {key: [3, True] for key in FAULTS}
    assert {key: fault[2] for key, fault in faults.items() if fault[2]} == {
        "exiting-seg/exiting": "SystemExit",
        "future-seg/future": "ValidationError",
        "lacking-seg/lacking": "ModuleNotFoundError",
        "muddled-seg/muddled": "InvalidRequirement",
        "raising-seg/raising": "RuntimeError",
    }


def test_builders_break_alone() -> None:
    """A builder that raises or is not there is its plugin's fault, cause chained; torch loads and good models build."""
    code = """
import json, segzoo
outcomes = {}
for name in ("failing", "unbuilt", "plain", "shadowing-seg/segnet", "twin-b-seg/twin", "fast_scnn"):
    try:
        outcomes[name] = type(segzoo.create_model(name, num_classes=2)).__name__
    except segzoo.SegzooError as error:
        outcomes[name] = [error.exit_code, str(error), type(error.__cause__).__name__]
try:
    segzoo.create_model("failing", num_classes=0)
except ValueError as error:
    outcomes["usage"] = str(error)
print(json.dumps(outcomes))
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "failing": [
            3,
            "the builder failing_seg_nets:build of failing failed: ZeroDivisionError: no luck",
            "ZeroDivisionError",
        ],
        "unbuilt": [
            3,
            "the builder module_that_nobody_wrote:build of unbuilt cannot be imported: "
            "ModuleNotFoundError: No module named 'module_that_nobody_wrote'",
            "ModuleNotFoundError",
        ],
        "plain": "Plain",
        "shadowing-seg/segnet": "Plain",
        "twin-b-seg/twin": "Plain",
        "fast_scnn": "FastSCNN",
        "usage": "num_classes must be at least 1, got 0",
    }


def test_strictness_stops_at_the_first_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """``SEGZOO_STRICT_PLUGINS=1`` ends even a command that needs none of them."""
    monkeypatch.setenv("SEGZOO_STRICT_PLUGINS", "1")
    done = segzoo_command("list", "segzoo/*")
    assert (done.returncode, done.stdout) == (3, "")
    assert "error: the plugin exiting-seg/exiting (exiting_seg:EXITING) is broken: SystemExit: bye" in done.stderr


def test_contract_tells_the_misshapen_from_the_good() -> None:
    """The kit names the check that a bad network fails, in a process in which torch trains in spite of everything."""
    checks = ("--only", "logits_shape", "--only", "batch_two_trains")
    done = segzoo_command("check", "misshapen", "plain", *checks, "--json")
    assert done.returncode == 1
    rows = {(row["model"], row["check"]): row for row in json.loads(done.stdout)["rows"]}
    assert {key: row["status"] for key, row in rows.items()} == {
        ("misshapen-seg/misshapen", "logits_shape"): "failed",
        ("misshapen-seg/misshapen", "batch_two_trains"): "failed",
        ("good-seg/plain", "logits_shape"): "passed",
        ("good-seg/plain", "batch_two_trains"): "passed",
    }
    assert rows["misshapen-seg/misshapen", "logits_shape"]["detail"].startswith("expected logits (")
    assert "error: 1 of 2 models break the contract: misshapen-seg/misshapen" in done.stderr


@pytest.mark.slow
def test_docs_show_what_a_failed_check_prints() -> None:
    """``docs/plugins.md`` has the very output."""
    done = segzoo_command("check", "misshapen", "--quick")
    assert done.returncode == 1
    assert f"\n```\n{done.stdout}```\n" in (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raising", "error: the plugin raising-seg/raising (raising_seg:RAISING) is broken: RuntimeError: no luck"),
        ("failing", "error: the builder failing_seg_nets:build of failing failed: ZeroDivisionError: no luck"),
    ],
)
def test_training_a_broken_plugin_ends_with_its_fault(name: str, message: str, tmp_path: Path) -> None:
    """Exit code 3 and the cause, before there is a run; ``--debug`` shows where it happened."""
    words = ("finetune", "quickstart", "--set", f"model.name={name}", "--out", str(tmp_path / "run"))
    done = segzoo_command(*words, "--dry-run", "--debug")
    assert done.returncode == 3
    assert message in done.stderr.splitlines()
    assert "The above exception was the direct cause" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()
