"""Every error has its exit code, and a misspelt name gets the nearest valid ones."""

from __future__ import annotations

import inspect
import signal

import pytest

from segzoo import errors
from segzoo.errors import (
    AmbiguousModel,
    Interrupted,
    NotAvailable,
    SegzooError,
    UnknownModel,
    UnknownName,
    did_you_mean,
)

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SegzooError)]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SegzooError", 1),
        ("TrainingError", 1),
        ("UsageFault", 2),
        ("UnknownName", 2),
        ("UnknownModel", 2),
        ("AmbiguousModel", 2),
        ("RecipeError", 2),
        ("ParamsError", 2),
        ("DataError", 2),
        ("RunDirectoryError", 2),
        ("NotAvailable", 2),
        ("EnvironmentFault", 3),
        ("PluginError", 3),
        ("MissingDistribution", 3),
        ("DeviceError", 3),
        ("DownloadError", 3),
    ],
)
def test_exit_code(name: str, code: int) -> None:
    """1 is a run that failed, 2 the user's input, 3 the machine or a package."""
    assert getattr(errors, name).exit_code == code


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_tree_at_the_top_is_complete(kind: type[SegzooError]) -> None:
    """Each class stands in the tree of the module's docstring, deeper than its base."""
    lines = {line.strip("│├└─ ").split(" ")[0]: line for line in (errors.__doc__ or "").splitlines() if line.strip()}
    line = lines[kind.__name__]
    (base,) = kind.__bases__
    if base is not Exception:
        assert line.index(kind.__name__) > lines[base.__name__].index(base.__name__)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_takes_the_code_of_its_signal(signum: int, code: int) -> None:
    """A run that a signal stopped exits as shells expect, and knows the signal's name."""
    error = Interrupted(signum, "stopped at step 3")
    assert error.exit_code == code
    assert error.signal_name == signal.Signals(signum).name
    assert str(error) == "stopped at step 3"


@pytest.mark.parametrize(
    ("name", "choices", "hint"),
    [
        ("segnt", ["segnet", "unet", "fast_scnn"], " Did you mean 'segnet'?"),
        ("segnt", ["segnet_b", "segnet", "segnet"], " Did you mean 'segnet' or 'segnet_b'?"),
        ("abcd", ["abc1", "abc2", "abc3", "abc4"], " Did you mean 'abc4' or 'abc3' or 'abc2'?"),
        ("nothing", ["segnet", "unet"], ""),
        ("segnet", [], ""),
    ],
)
def test_did_you_mean(name: str, choices: list[str], hint: str) -> None:
    """The nearest come first, each once, at most three; where nothing is near, nothing is suggested."""
    assert did_you_mean(name, choices) == hint


def test_did_you_mean_can_be_limited() -> None:
    """A caller may ask for fewer suggestions."""
    assert did_you_mean("abcd", ["abc1", "abc2"], limit=1) == " Did you mean 'abc2'?"


def test_did_you_mean_can_write_something_before() -> None:
    """What stands before each suggestion takes no part in the comparison."""
    assert did_you_mean("abcd", ["abc1", "xyz"], before="a/b/") == " Did you mean 'a/b/abc1'?"
    assert did_you_mean("a/b/abcd", ["abc1"], before="a/b/") == ""


def test_messages_hold_the_value_and_the_way_out() -> None:
    """What was asked for is quoted; what may be asked for instead follows."""
    assert str(UnknownName("recipe", "quickstrt", ["quickstart"])) == (
        "no recipe named 'quickstrt'. Did you mean 'quickstart'?"
    )
    assert str(UnknownModel("segnt", ["segnet"])) == "no model named 'segnt'. Did you mean 'segnet'?"
    assert str(UnknownModel("x", ["segnet"])) == "no model named 'x'. Known: segnet."
    assert str(AmbiguousModel("lite", ["b/lite", "a/lite"])) == (
        "the model name 'lite' is ambiguous: write one of a/lite, b/lite"
    )
    assert str(NotAvailable("train.compile")) == "train.compile is not available in this version"
