"""The page about a run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from segzoo.metrics import Passport
from segzoo.page import data_uri
from segzoo.runs.report import FIGURES, write_report

RECIPE: dict[str, Any] = {
    "$schema": "https://example.org/recipe-1.json",
    "recipe_version": 1,
    "name": "camvid_unet",
    "description": "Streets <script>alert('seen')</script> & cars",
    "model": {"name": "segzoo/unet_resnet34", "weights": "imagenet"},
    "data": {"format": "camvid", "image_size": [360, 480], "ignore_index": 255},
    "train": {"epochs": 4, "seed": 7},
    "eval": {"split": "val"},
}
IOUS = {"sky": 0.91, "road <b>": 0.8512, "train": None}
RUN: dict[str, Any] = {
    "schema_version": 1,
    "status": "finished",
    "error": None,
    "started": "2025-03-01T10:00:00+00:00",
    "updated": "2025-03-01T11:05:00+00:00",
    "argv": ["segzoo", "finetune", "my recipe.json"],
    "seed": 7,
    "threads": 3,
    "device": "cuda:0",
    "device_name": "NVIDIA H200",
    "world_size": 1,
    "versions": {"segzoo": "0.1.0", "torch": "2.15.0", "timm": None},
    "machine": {"platform": "Linux", "processor": "CPU", "cpus": 16, "memory_bytes": 2**37, "gpus": []},
    "git": {"sha": "abc123", "dirty": True},
    "plugins": [{"id": "acme-seg/unet_lite", "distribution": "acme-seg", "version": "1.2"}],
    "data": {"fingerprint": "fedcba", "images": {"train": 367, "val": 101}},
    "recipe_sha256": "123456",
    "parameters": 24437239,
    "train_seconds": 3725.0,
}


DETAILS: dict[str, Any] = {
    "scores": {"mean_class_accuracy": 0.75, "frequency_weighted_iou": 0.825, "boundary_f1": 0.5},
    "intervals": {"mean_iou": [0.861, 0.902], "mean_class_accuracy": [0.7, 0.8]},
    "per_class": {"sky": {"iou": 0.91, "dice": 0.953, "accuracy": 0.97, "boundary_f1": None, "pixels": 12345}},
}


def row(epoch: int, mean_iou: float | None) -> dict[str, Any]:
    """Return a line of metrics.jsonl; without mIoU it is one of an epoch that was not validated."""
    scored = mean_iou is not None
    return {
        "epoch": epoch,
        "step": 46 * epoch,
        "train_loss": 0.5,
        "val_loss": 0.6 if scored else None,
        "mean_iou": mean_iou,
        "pixel_accuracy": 0.9 if scored else None,
        "mean_dice": 0.8 if scored else None,
        "per_class_iou": IOUS if scored else {},
        "lr": {"head": 0.001},
        "images_per_second": 212.34,
        "data_wait": 0.625,
        "seconds": 4.5,
    }


def model(best: dict[str, Any]) -> dict[str, Any]:
    """Return a model.json whose weights are those of an epoch."""
    kept = ("epoch", "step", "mean_iou", "pixel_accuracy", "mean_dice", "per_class_iou")
    passport = Passport(split="val", images=101, ignore_index=255, image_size=(360, 480))
    return {
        "schema_version": 1,
        "id": "segzoo/unet_resnet34",
        "classes": [{"name": name, "color": [200, 30, 5 * index]} for index, name in enumerate(IOUS)],
        "ignore_index": 255,
        "metrics": {**{key: best[key] for key in kept}, "passport": passport.model_dump(mode="json"), **DETAILS},
    }


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write metrics.jsonl."""
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))


def write_run(folder: Path, **changes: Any) -> None:
    """Write run.json."""
    (folder / "run.json").write_text(json.dumps({**RUN, **changes}))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the directory of a finished run of four epochs, two of them validated."""
    folder = tmp_path / "camvid_unet"
    (folder / "model").mkdir(parents=True)
    (folder / "figures").mkdir()
    rows = [row(1, None), row(2, 0.8806), row(3, None), row(4, 0.7)]
    (folder / "recipe.json").write_text(json.dumps(RECIPE, indent=2))
    write_run(folder)
    write_rows(folder, rows)
    (folder / "model" / "model.json").write_text(json.dumps(model(rows[1])))
    for name in FIGURES:
        (folder / "figures" / name).write_bytes(name.encode())
    return folder


def page_of(folder: Path) -> str:
    """Write a run's page and return it."""
    return write_report(folder).read_text()


def text_of(html: str) -> str:
    """Return what a reader sees, each element's text on its own line."""
    body = html.partition("<body>")[2]
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]*>", "\n", body))


def test_the_page_lies_in_the_run(run: Path) -> None:
    """The page is report.html in the run directory, and no temporary file is left."""
    before = set(run.iterdir())
    assert write_report(run) == run / "report.html"
    assert set(run.iterdir()) - before == {run / "report.html"}


def test_the_end_of_a_run_may_be_told_before_it_is_recorded(run: Path) -> None:
    """The page of a finished run is written first, and says so already."""
    write_run(run, status="running")
    assert "The run finished." in write_report(run, status="finished").read_text()
    assert "The run finished." not in page_of(run)


def test_the_headline_is_the_best_epoch(run: Path) -> None:
    """Scores are those of the epoch with the highest mIoU, which is named; parameters and time stand beside them."""
    text = text_of(page_of(run))
    assert "Best mIoU\n88.1%\nepoch 2 of 4, 86.1% to 90.2%\n" in text
    assert "Pixel accuracy\n90.0%\n" in text
    assert "Mean Dice\n80.0%\n" in text
    assert "Parameters\n24.44 M\n24,437,239\n" in text
    assert "Training time\n1 h 02 min\nNVIDIA H200\n" in text


def test_the_scores_have_their_passport(run: Path) -> None:
    """Split, number of images, reduction, resolution and ignored label are told, and which weights were saved."""
    text = text_of(page_of(run))
    assert "split\nval\nimages\n101\nreduction\none confusion matrix over the split\n" in text
    assert "network input\nheight 360, width 480 pixels\n" in text
    assert "ignored label\n255\n" in text
    assert "The saved model is that of epoch 2, step 92, with mIoU 88.1%." in text


def test_each_class_has_its_row(run: Path) -> None:
    """A class stands with colour, IoU and bar; one that occurs nowhere is absent, not zero, and counted."""
    html = page_of(run)
    assert '<i style="background: #c81e00"></i>' in html
    assert '<td class="number">91.0%</td><td class="bar"><i style="width: 91.0%"></i></td>' in html
    text = text_of(html)
    assert "road &lt;b&gt;\n85.1%\n" in text
    assert "train\nabsent\n" in text
    assert "1 of 3 classes occurs neither in the masks nor in the predictions." in text


def test_scores_that_are_taken_at_the_end(run: Path) -> None:
    """Further scores have their card, with the interval where there is one, and further columns for the classes."""
    text = text_of(page_of(run))
    assert "Mean class accuracy\n75.0%\n70.0% to 80.0%\n" in text
    assert "Boundary F1\n50.0%\n" in text
    assert "accuracy\nDice\nboundary F1\npixels\n" in text
    assert "sky\n91.0%\n97.0%\n95.3%\n" in text
    assert "12,345\n" in text


def test_a_run_that_goes_on_lacks_them(run: Path) -> None:
    """Without the scores of the end there are neither empty cards nor empty columns."""
    path = run / "model" / "model.json"
    description = json.loads(path.read_text())
    for key in DETAILS:
        del description["metrics"][key]
    path.write_text(json.dumps(description))
    text = text_of(page_of(run))
    assert "Best mIoU\n88.1%\nepoch 2 of 4\n" in text
    assert "Boundary" not in text.replace("boundary scores", "").replace("boundary F1 per image", "")
    assert "pixels\nsky" not in text


def test_no_class_is_absent(run: Path) -> None:
    """Where every class occurs, nothing is said of absent ones."""
    write_rows(run, [{**row(1, 0.5), "per_class_iou": {"sky": 0.0}}])
    text = text_of(page_of(run))
    assert "sky\n0.0%\n" in text
    assert "neither in the masks" not in text


def test_every_figure_is_inside_the_page(run: Path) -> None:
    """Each figure is embedded with its bytes and described for those who do not see it."""
    html = page_of(run)
    for name in FIGURES:
        assert f'<img src="{data_uri(run / "figures" / name)}" alt="' in html
    assert 'alt=""' not in html


def test_nothing_comes_from_outside(run: Path) -> None:
    """All sources are data addresses; there is no link, no import and no script, whatever the recipe says."""
    html = page_of(run)
    assert {source.partition(":")[0] for source in re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', html)} == {"data"}
    for word in ("<script", "<link", "@import", "url("):
        assert word not in html


def test_text_of_others_is_escaped(run: Path) -> None:
    """Markup in a recipe, a class name or an error is shown, not obeyed."""
    write_run(run, status="failed", error="bad <img src='https://example.org/x.png'>")
    html = page_of(run)
    assert "Streets &lt;script&gt;alert(&#39;seen&#39;)&lt;/script&gt; &amp; cars" in html
    assert "bad &lt;img src=" in html
    assert "<b>" not in html


def test_it_tells_how_to_run_it_again(run: Path) -> None:
    """The command and the whole recipe, as it stands in the file, are on the page."""
    text = text_of(page_of(run))
    assert "segzoo finetune recipe.json" in text
    assert "&#34;image_size&#34;: [\n360,\n480\n]" in text


def test_the_environment_is_told(run: Path) -> None:
    """Versions, device, seed, threads, data, commit and plugins are told; what is not installed is left out."""
    text = text_of(page_of(run))
    for fact in (
        "command\nsegzoo finetune &#39;my recipe.json&#39;\n",
        "started\n2025-03-01 10:00:00 UTC\n",
        "device\ncuda:0, NVIDIA H200\n",
        "seed\n7\n",
        "CPU threads\n3\n",
        "data fingerprint\nfedcba\n",
        "images\ntrain 367, val 101\n",
        "git commit\nabc123, with changes\n",
        "plugins\nacme-seg/unet_lite 1.2\n",
        "machine\nLinux, CPU, 16 CPUs, 128 GiB memory\n",
        "versions\nsegzoo 0.1.0, torch 2.15.0\n",
    ):
        assert fact in text


def test_checks_are_shown(run: Path) -> None:
    """What is known of the first batch and of frozen parts has rows; where neither is recorded there is no section."""
    assert "Checks" not in text_of(page_of(run))
    channel = {"mean": -0.5, "std": 1.25, "min": -2.0, "max": 2.5}
    batch = {"images": 4, "size": [32, 48], "channels": [channel], "labels": [0, 2], "classes": ["a", "c"]}
    passes = {"images": 21, "equal": True, "largest_difference": 0.0}
    audit = {"parts": ["encoder"], "parameters": 62, "buffers": 60, "epochs": 3, "unchanged": True, "passes": passes}
    write_run(run, first_batch={**batch, "known_classes": 3, "ignored": 0.125}, audit=audit)

    text = text_of(page_of(run))

    assert "first labels\n0 to 2, 2 of 3 classes, 12.5% ignored\n" in text
    assert "frozen encoder\n62 parameters and 60 buffers, unchanged; epochs audited: 3\n" in text
    assert "two evaluation passes\nlogits equal to the bit; images scored: 21\n" in text


def test_epochs_are_a_table(run: Path) -> None:
    """Every epoch has a line; what was not measured is a dash."""
    text = text_of(page_of(run))
    assert "1\n46\n0.5000\n—\n—\n—\n—\n212.3\n62.5%\n4.5 s\n" in text
    assert "2\n92\n0.5000\n0.6000\n88.1%\n90.0%\n80.0%\n212.3\n62.5%\n4.5 s\n" in text


def test_a_run_that_has_just_begun(run: Path) -> None:
    """Without an epoch, a model or a figure the page says so, and every number is a dash."""
    write_run(run, status="running", data=None, parameters=None, train_seconds=0.0, git=None, plugins=[])
    for path in ("metrics.jsonl", "model/model.json", *(f"figures/{name}" for name in FIGURES)):
        (run / path).unlink()
    text = text_of(page_of(run))
    assert "\nrunning\n" in text
    assert "Best mIoU\n—\nnot validated yet\n" in text
    assert "Parameters\n—\n—\nTraining time\n0.0 s\n" in text
    assert "No epoch has been validated." in text
    assert "No epoch has ended." in text
    assert "No model has been saved yet." in text
    assert "figures/curves.png has not been drawn." in text


def test_a_failed_run_says_why(run: Path) -> None:
    """A failed run shows its error; a stopped one how to go on."""
    write_run(run, status="failed", error="the loss is not finite at step 12")
    assert "\nfailed\n" in text_of(page_of(run))
    assert "the loss is not finite at step 12" in text_of(page_of(run))
    write_run(run, status="interrupted")
    assert "--resume" in text_of(page_of(run))


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("recipe.json", "recipe.json is missing from this run."),
        ("run.json", "run.json is missing from this run."),
        ("metrics.jsonl", "No epoch has ended."),
        ("model/model.json", "No model has been saved yet."),
        *((f"figures/{name}", f"figures/{name} has not been drawn.") for name in FIGURES),
    ],
)
def test_each_piece_may_be_missing(run: Path, missing: str, sentence: str) -> None:
    """Whatever single file is missing, the page is written, says so, and still tells the best mIoU."""
    (run / missing).unlink()
    text = text_of(page_of(run))
    assert sentence in text
    assert "Best mIoU\n88.1%\nepoch 2 of" in text
    assert "one confusion matrix over the split" in text
    assert "None" not in text


def test_an_empty_directory_has_a_page(tmp_path: Path) -> None:
    """With nothing to tell, the page has the directory's name and the sentences."""
    text = text_of(page_of(tmp_path))
    assert tmp_path.name in text
    assert "No epoch has ended." in text
    assert "None" not in text


def test_damaged_files_are_as_missing(run: Path) -> None:
    """A line that a kill cut short, and a file that is no JSON object, do not stop the page."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 5, "mean_io')
    (run / "model" / "model.json").write_text("[]")
    text = text_of(page_of(run))
    assert "Best mIoU\n88.1%\nepoch 2 of 4\n" in text
    assert "No model has been saved yet." in text


def test_not_a_number_never_shows(run: Path) -> None:
    """Should a number be none, it is shown as one that is not known."""
    (run / "metrics.jsonl").write_text(json.dumps({**row(1, float("nan")), "train_loss": float("inf")}) + "\n")
    text = text_of(page_of(run))
    assert "nan" not in text.lower()
    assert "inf" not in text.lower()
