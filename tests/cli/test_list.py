"""``segzoo list``: every model, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from segzoo.catalog import BUILTIN_SPECS
from segzoo.environment import package_version

KEYS = ["id", "name", "family", "summary", "distribution", "version", "status", "error", "license", "papers", "tags"]

Run = Callable[..., Result]


def rows(result: Result) -> list[dict[str, Any]]:
    """Return the rows of a command that printed JSON."""
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert set(content) == {"schema_version", "rows"}
    assert content["schema_version"] == 1
    return content["rows"]


def test_rows_have_the_documented_keys(run: Run) -> None:
    """A program that reads the list finds these keys and no others, in every row."""
    found = rows(run("list", "segzoo/*", "--json"))
    assert all(list(row) == KEYS for row in found)
    assert sorted(row["id"] for row in found) == sorted(f"segzoo/{spec.name}" for spec in BUILTIN_SPECS)
    (row,) = rows(run("list", "fast_scnn", "--json"))
    assert row["version"] == package_version("segzoo")
    assert (row["status"], row["error"]) == ("ok", None)
    assert row["papers"] == ["arXiv:1902.04502"]


def test_what_a_user_types() -> None:
    """The command in a process of its own: data on stdout, nothing on stderr, exit code 0."""
    done = subprocess.run(
        [sys.executable, "-m", "segzoo", "list", "segzoo/*"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["model", "family", "status", "license", "summary"]
    assert [line.split()[0] for line in lines] == sorted(f"segzoo/{spec.name}" for spec in BUILTIN_SPECS)


def test_table_is_aligned_plain_text(run: Run) -> None:
    """Piped, each model has one line, and a column begins at one place."""
    lines = run("list", "segzoo/*").stdout.splitlines()
    assert len(lines) == len(BUILTIN_SPECS) + 1
    column = lines[0].index("family")
    assert {line[column - 1] for line in lines} == {" "}
    assert {line[column:].split()[0] for line in lines[1:]} == {spec.family for spec in BUILTIN_SPECS}
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["segnet*"], {"segnet", "segnet_basic", "segnet_pets", "segnet_pets_separable"}),
        (["segzoo/segnet"], {"segnet"}),
        (["--family", "scratch", "*segnet*"], {"segnet", "segnet_basic", "segnet_pets", "segnet_pets_separable"}),
        (["unet_*34*", "--pretrained"], {"unet_resnet34", "unet_resnet34_se"}),
        (["--tag", "attention", "--tag", "skip-connections", "unet_*18*"], {"unet_resnet18_se"}),
        (["fast*", "--license", "mit", "--origin", "SegZoo"], {"fast_scnn"}),
    ],
)
def test_filters(run: Run, words: list[str], names: set[str]) -> None:
    """Patterns and options narrow the list, all together."""
    assert names <= {row["name"] for row in rows(run("list", *words, "--json", "--origin", "segzoo"))}
    assert len(rows(run("list", *words, "--json", "--origin", "segzoo"))) == len(names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segnt"], "no model matches 'segnt'. Did you mean 'segnet'"),
        (["zzz*"], "no model matches 'zzz*'."),
        (["segzoo/segnt"], "no model matches 'segzoo/segnt'. Did you mean 'segzoo/segnet'"),
        (["--family", "smpp"], "no family named 'smpp'. Did you mean 'smp'"),
        (["--origin", "segzo"], "no origin named 'segzo'. Did you mean 'segzoo'"),
        (["--family", "nope"], "no family named 'nope'. Known: "),
        (["--origin", "nope"], "no origin named 'nope'. Known: segzoo"),
        (["--license", "GPL"], "no license named 'GPL'. Known: "),
        (["fast*", "--license", "mit", "--family", "smp"], "no model matches 'fast*' with these filters."),
        (["fast_scnn", "--pretrained"], "no model matches 'fast_scnn' with these filters."),
        (["--tag", "realtime", "--json"], "no tag named 'realtime'. Did you mean 'real-time'"),
    ],
)
def test_nothing_found_is_an_error(refused: Callable[..., str], words: list[str], message: str) -> None:
    """A script that asks for what is not there must not go on as if it were."""
    assert refused("list", *words).startswith(message)


def test_plugins_are_listed(run: Run, offer: Callable[..., Path], install: Callable[..., Path]) -> None:
    """A third party's models stand behind the built-ins, with status; the reason of a broken one fits in its line."""
    offer("acme-seg", "unet_lite", version="2.3", papers=("arXiv:1",), deprecated="use unet_resnet18")
    offer("beta-seg", "segnet")
    install("bad-seg", {"lite": "bad_seg:SPEC"}, "from segzoo import ModelSpec\nModelSpec(name='x')")
    found = {row["id"]: row for row in rows(run("list", "--json"))}
    assert all(list(row) == KEYS for row in found.values())
    acme, beta, bad = found["acme-seg/unet_lite"], found["beta-seg/segnet"], found["bad-seg/lite"]
    assert (acme["status"], acme["error"], acme["version"]) == ("deprecated", "use unet_resnet18", "2.3")
    assert (beta["status"], beta["error"]) == ("shadowed", None)
    assert bad["status"] == "broken"
    assert bad["error"].startswith("the plugin bad-seg/lite (bad_seg:SPEC) is broken: ModelSpec: summary: this key is")
    assert (bad["family"], bad["license"], bad["tags"]) == (None, None, [])
    lines = run("list").stdout.splitlines()
    assert len(lines) == len(found) + 1
    (line,) = [line for line in lines if line.startswith("bad-seg/lite")]
    assert line.split()[1:5] == ["-", "broken", "-", "the"]
    assert line.endswith("params: this key is required; license: this key is required")


def test_only_plugins_that_are_listed_are_loaded(run: Run, install: Callable[..., Path]) -> None:
    """A pattern that leaves a plugin out leaves its code out."""
    install("bad-seg", {"lite": "bad_seg:SPEC"}, "raise KeyboardInterrupt")
    assert run("list", "segzoo/*").exit_code == 0


def test_ambiguous_names_are_both_listed(run: Run, offer: Callable[..., Path]) -> None:
    """A bare name in a pattern matches whoever has it."""
    offer("acme-seg", "lite")
    offer("beta-seg", "lite")
    assert [row["id"] for row in rows(run("list", "lite", "--json"))] == ["acme-seg/lite", "beta-seg/lite"]
