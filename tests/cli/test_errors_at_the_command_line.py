"""A mistake gets one message with the way out, an exit code, and never a traceback unless asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import Result

from segzoo.errors import DownloadError, Interrupted, SegzooError

Run = Callable[..., Result]
Refused = Callable[..., str]

ON_QUICKSTART = ["recipe", "validate", "quickstart", "--set"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["recipe", "valdate", "quickstart"], "No such command 'valdate'. Did you mean 'validate'?"),
        (["show"], "Missing argument"),
        (["recipe", "cp", "quickstart"], "Missing argument"),
        (["show", "segnet", "unet"], "'unet' is left over: show takes one model"),
        (["show", "segnt"], "no model named 'segnt'. Did you mean 'segnet'"),
        (["show", "segzoo/segnt"], "no model named 'segzoo/segnt'. Did you mean 'segzoo/segnet'"),
        (["list", "segnt"], "no model matches 'segnt'. Did you mean 'segnet'"),
        (["recipe", "show", "quikstart"], "no recipe named 'quikstart'. Did you mean 'quickstart'?"),
        (["recipe", "show", "quickstart.jsn"], "no recipe file quickstart.jsn. Did you mean 'quickstart'"),
        (["recipe", "validate", "."], ". is a folder; a recipe is a JSON file"),
        (["finetune", "quikstart"], "no recipe named 'quikstart'. Did you mean 'quickstart'?"),
        (["finetune", "quickstart", "--set", "train.epocs=1"], "--set train.epocs: train has no key 'epocs'. Did you"),
        (["finetune", "quickstart", "--set", "model.name=segnt"], "quickstart: no model named 'segnt'. Did you mean"),
        ([*ON_QUICKSTART, "trian.epochs=1"], "--set trian.epochs: a recipe has no key 'trian'. Did you mean 'train'"),
        ([*ON_QUICKSTART, "train.epochs"], "--set train.epochs: expected key=value, such as train.epochs=3"),
        ([*ON_QUICKSTART, "model.name=fastscnn"], "quickstart: no model named 'fastscnn'. Did you mean 'fast_scnn'"),
        ([*ON_QUICKSTART, "model.params.dropot=0"], "quickstart: fast_scnn: model.params.dropot = 0: unknown key. Did"),
        ([*ON_QUICKSTART, "model.weights=imagenet"], "quickstart: transfer.strategy 'scratch' starts from random"),
        ([*ON_QUICKSTART, "eval.window=[8, 8]"], "quickstart: eval.window [8, 8] is below the 32 pixels that"),
        ([*ON_QUICKSTART, "data.image_size=[8, 8]"], "quickstart: data.image_size [8, 8] is below the 32 pixels"),
    ],
)
def test_mistakes_of_the_user(refused: Refused, words: list[str], message: str) -> None:
    """Exit code 2, stdout empty, the value and the nearest valid name on stderr."""
    told = refused(*words)
    assert told.startswith(message)
    assert "\n" not in told


@pytest.mark.parametrize(
    ("words", "wrong", "right"),
    [
        (["list", "--jsn"], "--jsn", "--json"),
        (["list", "--famly", "smp"], "--famly", "--family"),
        (["--verson"], "--verson", "--version"),
        (["finetune", "quickstart", "--resme"], "--resme", "--resume"),
    ],
)
def test_misspelt_options(refused: Refused, words: list[str], wrong: str, right: str) -> None:
    """The sentence is typer's; it names the option and the nearest valid one."""
    told = refused(*words)
    assert told.startswith("No such option")
    assert wrong in told
    assert right in told


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("augment.0.name=HorizontlFlip", "augment.0.name: no transform named 'HorizontlFlip'. Did you mean 'Horizonta"),
        ("augment.0.probability=1", "augment.0: HorizontalFlip has no argument 'probability'. Did you mean 'p'?"),
        ("augment.0.name=os:system", "augment.0.name: no transform named 'os:system'."),
        ("name=../x", 'name = "../x": '),
        ("loss.0.name=dise", 'loss.0.name = "dise": expected '),
        ("optimizer.name=adamv", 'optimizer.name = "adamv": expected '),
        ("train.epochs=three", 'train.epochs = "three": input should be a valid integer'),
        ("eval.split=test", "data has no split 'test'; it has train, val"),
    ],
)
def test_mistakes_in_a_recipe_name_where_they_are(refused: Refused, assignment: str, message: str) -> None:
    """What ``--set`` brings in is told as such, and a fault between keys with the recipe's file."""
    told = refused(*ON_QUICKSTART, assignment)
    if message.startswith(assignment.partition("=")[0]):
        assert told.startswith(f"--set {message}")
    else:
        file, _, rest = told.partition(": ")
        assert Path(file).name == "quickstart.json"
        assert rest.startswith(message)


def test_several_mistakes_are_one_message(refused: Refused) -> None:
    """They stand below the file's name, one in a line."""
    Path("mine.json").write_text('{"recipe_version": 2, "naem": "x", "model": {}, "data": {"format": "vok"}}')
    assert refused("recipe", "validate", "mine.json").splitlines() == [
        "mine.json:",
        "  recipe_version = 2: expected 1.",
        "  name: this key is required",
        "  model.name: this key is required",
        "  data.format = \"vok\": expected 'shapes', 'folder', 'camvid', 'voc', 'oxford_pets', 'cityscapes', 'ade20k'. "
        "Did you mean 'voc'?",
        "  naem = \"x\": unknown key. Did you mean 'name'?",
    ]


def test_group_without_a_command_shows_its_help(run: Run) -> None:
    """It is a mistake, but the commands are what the user needs."""
    for words in ((), ("recipe",)):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Commands:" in result.stderr


@pytest.mark.parametrize(
    "words", [["--debug", "show", "segnt"], ["show", "segnt", "--debug"], ["show", "--debug", "segnt"]]
)
def test_debug_shows_the_traceback(run: Run, words: list[str]) -> None:
    """Before, after or inside the command; the message and the exit code stay."""
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback (most recent call last):" in result.stderr
    assert "registry.py" in result.stderr
    assert "error: no model named 'segnt'." in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", [["list", "--json"], ["--debug", "list", "--json"], ["list", "--debug", "--json"]])
def test_debug_leaves_the_data_alone(run: Run, words: list[str]) -> None:
    """What a command prints does not depend on it."""
    assert run(*words).stdout == run("list", "--json").stdout


@pytest.mark.parametrize("word", ["--help", "-h"])
@pytest.mark.parametrize("command", [[], ["list"], ["show"], ["plugins"], ["env"], ["recipe"], ["recipe", "cp"]])
def test_help_is_data(run: Run, command: list[str], word: str) -> None:
    """Asked for, help goes to stdout with exit code 0."""
    result = run(*command, word)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: ")


def test_version(run: Run) -> None:
    """Name and version, as the metadata has it."""
    result = run("--version")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"segzoo {version('segzoo')}\n", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SegzooError("it went wrong"), 1),
        (DownloadError("it went wrong"), 3),
        (Interrupted(2, "it went wrong"), 130),
        (Interrupted(15, "it went wrong"), 143),
        (OSError(28, "it went wrong"), 1),
    ],
)
def test_errors_become_exit_codes(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    """Whatever a command raises of segzoo's, or the system's, is one message."""

    def fail() -> None:
        raise error

    monkeypatch.setattr("segzoo.cli.env.collect", fail)
    assert refused("env", code=code).endswith("it went wrong")


def test_bugs_are_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no user's fault keeps its traceback, for the bug report."""

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("segzoo.cli.env.collect", fail)
    assert isinstance(run("env").exception, ZeroDivisionError)


def test_ctrl_c_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As shells expect, without a word."""

    def fail() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segzoo.cli.env.collect", fail)
    result = run("env")
    assert (result.exit_code, result.output) == (130, "")


def test_what_a_user_types(tmp_path: Path) -> None:
    """In a process of its own: one line on stderr, nothing on stdout, exit code 2, torch never imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "segzoo", "finetune", "quickstart", "--set", "train.epocs=1"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert (done.returncode, done.stdout) == (2, "")
    assert lines == ["error: --set train.epocs: train has no key 'epocs'. Did you mean 'epochs'?"]
    assert not any(line.split("|")[-1].strip() == "torch" for line in done.stderr.splitlines())
    assert not any(tmp_path.iterdir())
