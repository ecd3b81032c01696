"""``segzoo lr-find``: a suggestion on stdout, a picture beside it, and mistakes told before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import Result

from segzoo.training.trials import lr_find
from segzoo.training.trials.lr_find import RangeTest

Invoke = Callable[..., Result]
SMALL = (
    "data.size=[32,32]",
    "data.image_size=[32,32]",
    'data.counts={"train":4,"val":1}',
    "train.batch_size=2",
    "train.threads=1",
)
WORDS = ("lr-find", "quickstart", "--device", "cpu", *(word for change in SMALL for word in ("--set", change)))


@pytest.fixture(autouse=True)
def _keep_torch_as_it_was() -> Iterator[None]:
    """Give back the threads and the determinism that a test of rates sets."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def test_a_suggestion_and_a_picture(run: Invoke) -> None:
    """Stdout is one assignment that --set takes, a rate between the ends; the picture is named on stderr."""
    result = run(*WORDS, "--steps", "20", "--start", "1e-5", "--end", "0.1")

    assert result.exit_code == 0, result.stderr
    found = re.fullmatch(r"optimizer\.lr=(\S+)\n", result.stdout)
    assert found
    assert 1e-5 < float(found[1]) < 0.1
    assert "the picture is lr-find.png" in result.stderr
    assert Path("lr-find.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in Path().iterdir()] == ["lr-find.png"]


def test_options_reach_the_test(run: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates, steps, device and the picture's name are those that were asked for."""
    asked: list[dict[str, object]] = []

    def find(recipe: object, **options: object) -> RangeTest:
        asked.append(options)
        return RangeTest((0.1, 0.2, 0.3, 0.4), (4.0, 3.0, 1.0, 0.9))

    monkeypatch.setattr(lr_find, "find_learning_rate", find)
    result = run(*WORDS, "--steps", "11", "--start", "0.001", "--end", "0.5", "--out", "rates.svg")

    assert result.exit_code == 0, result.stderr
    assert asked == [{"device": "cpu", "start": 0.001, "end": 0.5, "steps": 11}]
    assert result.stdout == "optimizer.lr=0.3\n"
    assert "<svg" in Path("rates.svg").read_text()


def test_a_loss_that_never_falls(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1 with what to change, no suggestion and no picture."""
    monkeypatch.setattr(lr_find, "find_learning_rate", lambda *_, **__: RangeTest((0.1, 0.2, 0.3), (1.0, 2.0, 3.0)))
    message = refused(*WORDS, code=1)
    assert message == "the loss did not fall between 0.1 and 0.3; try other --start and --end, or more --steps"
    assert not Path("lr-find.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--start", "0.1", "--end", "0.01"), "--start 0.1 must be above 0 and below --end 0.01"),
        (("--start", "0"), "--start 0 must be above 0 and below --end 1"),
        (("--out", "rates.txt"), "--out rates.txt: the name of the picture must end in .png or .svg or .pdf"),
        (("--out", "none/rates.png"), "--out none/rates.png: there is no folder none"),
        (("--steps", "9"), "'--steps': Input should be greater than or equal to 10"),
        (("--set", "train.epoch=3"), "train has no key 'epoch'. Did you mean 'epochs'?"),
        (("--device", "gpu9"), "gpu9"),
    ],
)
def test_mistakes_are_told_before_training(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    """Each is one message with the value, and no step is made."""
    monkeypatch.setattr(lr_find, "build_parts", lambda *_: pytest.fail("the data was opened"))
    assert told in refused(*WORDS, *words, code=3 if "gpu9" in words else 2)
    assert not list(Path().iterdir())


def test_unknown_recipe(refused: Callable[..., str]) -> None:
    """The nearest name is suggested."""
    assert "quickstart" in refused("lr-find", "quickstrat")
