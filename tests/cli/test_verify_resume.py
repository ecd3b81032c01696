"""``segzoo verify-resume``: a proof on a recipe, or what differs, with an exit code for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from segzoo.training.trials import verify
from segzoo.training.trials.verify import Difference

Invoke = Callable[..., Result]
SMALL = (
    "data.size=[32,32]",
    "data.image_size=[32,32]",
    'data.counts={"train":4,"val":1}',
    "train.batch_size=2",
    "train.threads=1",
)
WORDS = ("verify-resume", "quickstart", "--device", "cpu", *(word for change in SMALL for word in ("--set", change)))
PROVED = "equal to the bit: model, optimizer and metrics after {} steps, one kill and one resume\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let the two runs be equal without training, and return what each proof was asked for."""
    calls: list[dict[str, Any]] = []

    def prove(recipe: object, folder: Path, **options: Any) -> list[Difference]:
        calls.append({"folder": folder, "there": folder.is_dir(), **options})
        return []

    monkeypatch.setattr(verify, "verify_resume", prove)
    return calls


@pytest.mark.slow
def test_a_proof_as_users_make_it(run: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is killed and resumed indeed: no part differs, and nothing is left behind."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    result = run(*WORDS, "--steps", "4", "--json")

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"schema_version": 1, "rows": []}
    assert PROVED.format(4) in result.stderr
    assert not list(temporary.iterdir())
    assert not list(Path().iterdir())


def test_the_proof_is_the_result(run: Invoke, asked: list[dict[str, Any]]) -> None:
    """Without --json stdout is the sentence; steps and device are those asked for, the folder is gone afterwards."""
    result = run(*WORDS, "--steps", "8")

    assert (result.exit_code, result.stdout) == (0, PROVED.format(8))
    (call,) = asked
    assert (call["steps"], call["device"], call["there"]) == (8, "cpu", True)
    assert not call["folder"].exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_differences_fail(run: Invoke, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    """Each is listed with its size, and the exit code is 1."""
    found = [Difference("model.head.weight", "largest difference 0.5"), Difference("metrics.jsonl", "a and b")]
    monkeypatch.setattr(verify, "verify_resume", lambda *_, **__: found)

    result = run(*WORDS, *(["--json"] if as_json else []))

    assert result.exit_code == 1
    assert "error: 2 parts of the resumed run differ" in result.stderr
    assert "train.deterministic" in result.stderr
    if as_json:
        assert json.loads(result.stdout)["rows"] == [difference._asdict() for difference in found]
    else:
        assert result.stdout.splitlines()[0].split() == ["what", "difference"]
        assert all(word in result.stdout for difference in found for word in difference)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--steps", "3"), "--steps 3: at least 4 are needed, to be killed between two checkpoints"),
        (("--steps", "many"), "Invalid value for '--steps'"),
        (("--set", "train.epoch=3"), "train has no key 'epoch'. Did you mean 'epochs'?"),
    ],
)
def test_mistakes_are_told_before_training(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    """Each is one message with the value, and no run is started."""
    monkeypatch.setattr(verify, "_train", lambda *_, **__: pytest.fail("a run was started"))
    assert told in refused(*WORDS, *words)


@pytest.mark.slow
def test_a_run_that_fails_by_itself_proves_nothing(refused: Callable[..., str], capfd: pytest.CaptureFixture) -> None:
    """What the run says is passed on, and the command ends by naming the run."""
    crop = 'augment=[{"name":"RandomCrop","height":64,"width":64}]'
    message = refused(*WORDS, "--set", crop, code=1)
    assert message.endswith("/through ended with 2, not with 0: see above")
    assert "augment fails on an image of 32x32 pixels" in capfd.readouterr().err
