"""``segzoo plugins``: third parties' models, their origin and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]


def test_each_plugin_has_a_row(run: Run, offer: Callable[..., Path], install: Callable[..., Path]) -> None:
    """Distribution, version, target, status and error; no built-ins; exit code 0 even where all are broken."""
    offer("acme-seg", "unet_lite", version="2.3")
    install("bad-seg", {"lite": "bad_seg:SPEC"}, "raise RuntimeError('no luck')")
    result = run("plugins", "--json")
    content = json.loads(result.stdout)
    assert result.exit_code == 0
    assert content["schema_version"] == 1
    found = {row["id"]: row for row in content["rows"]}
    assert found["acme-seg/unet_lite"] == {
        "id": "acme-seg/unet_lite",
        "distribution": "acme-seg",
        "version": "2.3",
        "target": "acme_seg:SPEC",
        "status": "ok",
        "error": None,
    }
    assert found["bad-seg/lite"]["status"] == "broken"
    assert found["bad-seg/lite"]["error"].endswith("is broken: RuntimeError: no luck")
    assert not any(row["distribution"] == "segzoo" for row in content["rows"])


def test_table(run: Run, offer: Callable[..., Path]) -> None:
    """A person sees the same, one line for each."""
    offer("acme-seg", "unet_lite", version="2.3")
    header, *lines = run("plugins").stdout.splitlines()
    assert header.split() == ["model", "version", "target", "status", "error"]
    assert "acme-seg/unet_lite  2.3      acme_seg:SPEC  ok" in lines


def test_no_plugins(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any, stdout is empty, or an empty list for programs, and stderr says how to join."""
    monkeypatch.setenv("SEGZOO_PLUGINS", "none")
    result = run("plugins")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "a package joins with the entry point group segzoo.models" in result.stderr
    assert json.loads(run("plugins", "--json").stdout) == {"schema_version": 1, "rows": []}


def test_settings_reach_the_command(
    run: Run, refused: Callable[..., str], offer: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``SEGZOO_PLUGINS`` chooses; a name that offers nothing ends every command with exit code 3."""
    offer("acme-seg", "a")
    offer("beta-seg", "b")
    monkeypatch.setenv("SEGZOO_PLUGINS", "beta-seg")
    assert [row["id"] for row in json.loads(run("plugins", "--json").stdout)["rows"]] == ["beta-seg/b"]


@pytest.mark.parametrize("words", [["plugins"], ["list"], ["show", "segnet"], ["recipe", "validate", "quickstart"]])
def test_wrong_setting_ends_every_command(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """A setting that cannot be met is told at once, not after training with another model."""
    monkeypatch.setenv("SEGZOO_PLUGINS", "no-such-seg")
    assert refused(*words, code=3).startswith("SEGZOO_PLUGINS names 'no-such-seg', but no installed distribution")
