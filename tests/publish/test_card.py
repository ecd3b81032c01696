"""A card says what the run knows, and nothing that it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segzoo.publish.push import collect_files

SCORES = {
    "scores": {"mean_iou": 0.8125, "boundary_f1": None},
    "intervals": {"mean_iou": [0.75, 0.875], "boundary_f1": [None, None]},
    "per_class": {
        "background": {"iou": 0.9, "dice": 0.95, "accuracy": 0.96, "boundary_f1": 0.5, "pixels": 90},
        "crack": {"iou": None, "dice": None, "accuracy": None, "boundary_f1": None, "pixels": 0},
    },
    "absent_classes": ["crack"],
}


def card_of(run: Path, *, license: str | None = None) -> str:
    """Return the card of a run."""
    return collect_files(run, "hf-hub:acme/cracks", license=license)["README.md"].decode()


def test_front_matter_is_what_the_hub_reads(leave_run: Callable[..., Path]) -> None:
    """It names library and task, and a license only where the author states one."""
    run = leave_run()
    head = card_of(run).split("---\n")[1].splitlines()
    assert head == [
        "library_name: segzoo",
        "pipeline_tag: image-segmentation",
        "tags:",
        "- segzoo",
        "- semantic-segmentation",
    ]
    assert "license: cc-by-4.0" in card_of(run, license="CC-BY-4.0").split("---\n")[1].splitlines()


def test_scores_stand_with_intervals_and_passport(leave_run: Callable[..., Path]) -> None:
    """Every score has its interval; what is not known is a dash; how it was taken is told below."""
    card = card_of(leave_run(**SCORES))
    assert "| mean IoU | 0.8125 | 0.7500 to 0.8750 |" in card
    assert "| boundary F1 | — | — |" in card
    assert "| split | val |" in card
    assert "| images | 12 |" in card
    assert "| network input | height 64, width 96 pixels |" in card
    assert "| background | 90.0% | 95.0% | 96.0% | 50.0% |" in card
    assert "| crack | — | — | — | — |" in card
    assert "the validation images have none of it: crack." in card


def test_run_that_was_stopped(leave_run: Callable[..., Path]) -> None:
    """Before a run ends it knows the IoU of each class alone."""
    card = card_of(leave_run())
    assert "| mean IoU | 0.8125 | — |" in card
    assert "| crack | 81.2% | — | — | — |" in card
    assert "Never scored" not in card


def test_data_and_use(leave_run: Callable[..., Path]) -> None:
    """The card says what the model saw, what it is for, and how it is used."""
    card = card_of(leave_run())
    assert "Cracks in concrete." in card
    assert "one of 2 classes: background, crack." in card
    assert "| data set | shapes |" in card
    assert "| augmentation | HorizontalFlip |" in card
    assert "| fingerprint | abc123 |" in card
    assert 'segzoo.load("hf-hub:acme/cracks")' in card
    assert '"weights": "hf-hub:acme/cracks"' in card


def test_licenses(leave_run: Callable[..., Path]) -> None:
    """Code, weights, and the weights before them each have a line; what is not known is not made up."""
    card = card_of(leave_run(pretrained="weights from hf-hub:other/net@1"), license="CC-BY-4.0")
    assert "| these weights | CC-BY-4.0 |" in card
    assert "| code of segzoo/fast\\_scnn | MIT |" in card
    assert "| weights that training started from: weights from hf-hub:other/net@1 | not stated |" in card


def test_random_weights_before(leave_run: Callable[..., Path]) -> None:
    """A model that was trained from nothing says so."""
    card = card_of(leave_run())
    assert "| these weights | not stated |" in card
    assert "| weights that training started from | none; they were random |" in card


def test_model_folder_alone(leave_run: Callable[..., Path], tmp_path: Path) -> None:
    """Without its run, the card leaves open what only the run knew."""
    (leave_run() / "model").rename(tmp_path / "alone")
    card = card_of(tmp_path / "alone")
    assert "| data set | — |" in card
    assert "Cracks" not in card


def test_names_cannot_break_tables(leave_run: Callable[..., Path]) -> None:
    """A class may be called anything; it stays one cell of plain text."""
    card = card_of(leave_run(names=("a|b", "<b>x</b>")))
    assert "| a\\|b | 81.2%" in card
    assert "<b>" not in card
