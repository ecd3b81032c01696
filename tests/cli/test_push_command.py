"""``segzoo push`` tells a user's mistake before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result


def test_address_is_printed(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """The options reach what pushes, and stdout is the commit's address."""
    import segzoo.publish.push as pushing

    seen: list[object] = []

    def push_model(*arguments: object, **options: object) -> str:
        seen.extend((*arguments, options))
        return "http://127.0.0.1/acme/net/commit/1"

    monkeypatch.setattr(pushing, "push_model", push_model)
    result = run("push", "runs/x", "hf-hub:acme/net", "--license", "MIT", "--private")
    assert (result.exit_code, result.stdout) == (0, "http://127.0.0.1/acme/net/commit/1\n")
    assert seen == ["runs/x", "hf-hub:acme/net", {"license": "MIT", "private": True}]


def test_a_dry_run_sends_nothing(run: Callable[..., Result], trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is on stdout, what would be sent is named, and no hub is asked."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    result = run("push", trained, "hf-hub:acme/net", "--license", "MIT", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("---\n")
    assert 'segzoo.load("hf-hub:acme/net")' in result.stdout
    assert "not sent: model.safetensors (" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("runs/x", "acme/net"), "a model is pushed to hf-hub:owner/name, got 'acme/net'"),
        (("runs/x", "hf-hub:acme/net"), "runs/x does not exist; give a run directory"),
        (("runs/x", "hf-hub:acme/net", "--license", "my own"), "an SPDX identifier such as MIT or CC-BY-4.0"),
        (("runs/x", "hf-hub:acme/net", "--license", "FOO"), "an SPDX identifier such as MIT or CC-BY-4.0, got 'FOO'"),
        (("m.onnx", "hf-hub:acme/net"), "m.onnx is an exported file; push the run that it was made from"),
    ],
)
def test_mistakes(refused: Callable[..., str], words: tuple[str, ...], message: str) -> None:
    """Each is one message with the value and the way out."""
    assert message in refused("push", *words)


def test_a_run_without_weights(refused: Callable[..., str]) -> None:
    """A run that was stopped before its first validation has nothing to push."""
    (Path("runs/x/model")).mkdir(parents=True)
    Path("runs/x/run.json").write_text("{}")
    assert "the run has no weights yet" in refused("push", "runs/x", "hf-hub:acme/net")
