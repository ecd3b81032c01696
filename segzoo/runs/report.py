"""``report.html``: one page about a run, made of what lies in its directory and of nothing else.

A run that is still going, was stopped or has failed lacks some files; the page then says what is missing.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from segzoo.files import write_atomic
from segzoo.metrics import Passport
from segzoo.page import UNKNOWN, count, data_uri, decimal, duration, millions, percent, render
from segzoo.runs.records import AuditRecord, BatchRecord, Fact

FIGURES = ("curves.png", "confusion.png", "samples.png", "learning.gif")

STATES = {
    "running": "This page was written while the run was going on.",
    "finished": "The run finished.",
    "interrupted": "A signal stopped the run; the same command with --resume goes on with it.",
    "failed": "The run failed; what it wrote before is kept.",
    "unknown": "run.json does not tell how the run went.",
}

CLASS_COLUMNS = {"accuracy": "accuracy", "Dice": "dice", "boundary F1": "boundary_f1"}
FURTHER = {
    "mean_class_accuracy": "Mean class accuracy",
    "frequency_weighted_iou": "Frequency-weighted IoU",
    "boundary_f1": "Boundary F1",
}


@dataclass(frozen=True)
class Card:
    """One number of the headline."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class ClassRow:
    """One class of the table.

    Args:
        name: The class.
        color: Its colour in CSS.
        iou: Its IoU; None for a class that occurs nowhere.
        cells: Its other scores, where the run has ended and they are known.
    """

    name: str
    color: str | None
    iou: str | None
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """What a run directory holds, as far as it can be read.

    Args:
        recipe_text: ``recipe.json`` as it stands.
        recipe: ``recipe.json``.
        run: ``run.json``.
        model: ``model/model.json``.
        rows: The lines of ``metrics.jsonl``.
    """

    recipe_text: str
    recipe: Mapping[str, Any]
    run: Mapping[str, Any]
    model: Mapping[str, Any]
    rows: list[dict[str, Any]]

    def best(self) -> Mapping[str, Any]:
        """Return the first epoch of highest mIoU: its line, or what the saved model recorded."""
        scored = [row for row in self.rows if row.get("mean_iou") is not None]
        return max(scored, key=lambda row: row["mean_iou"]) if scored else self.saved_metrics()

    def saved_metrics(self) -> Mapping[str, Any]:
        """Return the scores of the saved weights."""
        return self.model.get("metrics") or {}

    def classes(self) -> list[Mapping[str, Any]]:
        """Return names and colours of the classes, where they are known."""
        return self.model.get("classes") or self._section("data").get("classes") or []

    def epochs(self) -> int | None:
        """Return how many epochs the recipe asks for."""
        return self._section("train").get("epochs")

    def passport(self) -> Passport | None:
        """Return what the scores are taken on, as recorded with the weights or as the recipe says; None if unknown."""
        split, data = self._section("eval").get("split", "val"), self._section("data")
        images = ((self.run.get("data") or {}).get("images") or {}).get(split)
        planned = {"split": split, "images": images, **{key: data.get(key) for key in ("ignore_index", "image_size")}}
        try:
            return Passport.model_validate_json(json.dumps(self.saved_metrics().get("passport") or planned))
        except ValidationError:
            return None

    def _section(self, name: str) -> Mapping[str, Any]:
        return self.recipe.get(name) or {}


def write_report(folder: Path, *, status: str | None = None) -> Path:
    """Write ``report.html`` into a run directory.

    Args:
        folder: The run directory, whatever state the run is in.
        status: How the run ended, where ``run.json`` does not tell it yet.

    Returns:
        The page.
    """
    files = read_files(folder)
    status = status or files.run.get("status", "unknown")
    classes = class_rows(files)
    page = render(
        "report.html.j2",
        name=files.recipe.get("name", folder.resolve().name),
        model_id=files.model.get("id") or (files.recipe.get("model") or {}).get("name", UNKNOWN),
        description=files.recipe.get("description"),
        status=status,
        state=STATES.get(status, STATES["unknown"]),
        error=files.run.get("error"),
        cards=cards(files),
        passport=files.passport(),
        class_columns=CLASS_COLUMNS if any(row.cells for row in classes) else (),
        saved=_describe_saved(files),
        classes=classes,
        absent=_describe_absent(classes),
        epochs=[_epoch_cells(row) for row in files.rows],
        figures={name: _embed(folder / "figures" / name) for name in FIGURES},
        recipe_text=files.recipe_text,
        checks=checks(files.run),
        environment=environment(files.run),
    )
    path = folder / "report.html"
    write_atomic(path, page)
    return path


def read_files(folder: Path) -> Files:
    """Read a run directory; what is missing or damaged is empty."""
    recipe_text = _read_text(folder / "recipe.json")
    return Files(
        recipe_text=recipe_text,
        recipe=_parse(recipe_text),
        run=_parse(_read_text(folder / "run.json")),
        model=_parse(_read_text(folder / "model" / "model.json")),
        rows=[row for row in map(_parse, _read_text(folder / "metrics.jsonl").splitlines()) if row],
    )


def cards(files: Files) -> list[Card]:
    """Return the headline."""
    best = files.best()
    epoch, same = "not validated yet", ""
    if "epoch" in best:
        epoch, same = f"epoch {best['epoch']} of {files.epochs() or UNKNOWN}", "in that epoch"
    parameters = files.run.get("parameters")
    seconds = files.run.get("train_seconds") or sum(row.get("seconds") or 0 for row in files.rows)
    return [
        Card("Best mIoU", percent(best.get("mean_iou")), _join(epoch, _interval(files, "mean_iou"))),
        Card("Pixel accuracy", percent(best.get("pixel_accuracy")), _interval(files, "pixel_accuracy") or same),
        Card("Mean Dice", percent(best.get("mean_dice")), _interval(files, "mean_dice") or same),
        *_further_cards(files),
        Card("Parameters", millions(parameters), count(parameters)),
        Card("Training time", duration(seconds), files.run.get("device_name") or files.run.get("device") or UNKNOWN),
    ]


def class_rows(files: Files) -> list[ClassRow]:
    """Return the scores of each class in the best epoch."""
    colors = {entry["name"]: entry.get("color") for entry in files.classes()}
    ious: Mapping[str, float | None] = files.best().get("per_class_iou") or {}
    details: Mapping[str, Mapping[str, Any]] = files.saved_metrics().get("per_class") or {}
    rows = []
    for name, iou in ious.items():
        known = details.get(name)
        scores = tuple(percent(known.get(key)) for key in CLASS_COLUMNS.values()) if known else ()
        cells = (*scores, count(known.get("pixels"))) if known else ()
        rows.append(ClassRow(name, _css(colors.get(name)), None if iou is None else percent(iou), cells))
    return rows


def _interval(files: Files, name: str) -> str:
    """Return the interval of a score of the saved weights; nothing where it is not known."""
    low, high = (files.saved_metrics().get("intervals") or {}).get(name) or (None, None)
    return f"{percent(low)} to {percent(high)}" if low is not None and high is not None else ""


def _further_cards(files: Files) -> list[Card]:
    """Return the scores that are taken once, when the run has ended."""
    scores = files.saved_metrics().get("scores") or {}
    return [
        Card(label, percent(scores[name]), _interval(files, name))
        for name, label in FURTHER.items()
        if scores.get(name) is not None
    ]


def environment(run: Mapping[str, Any]) -> list[Fact]:
    """Return where and how the run was made, without what is not known."""
    data, git, plugins = run.get("data") or {}, run.get("git") or {}, run.get("plugins") or []
    facts = {
        "command": shlex.join(run.get("argv") or []),
        "started": _time(run.get("started")),
        "last written": _time(run.get("updated")),
        "device": _join(run.get("device"), run.get("device_name")),
        "processes": run.get("world_size"),
        "seed": run.get("seed"),
        "CPU threads": run.get("threads"),
        "recipe SHA-256": run.get("recipe_sha256"),
        "data fingerprint": data.get("fingerprint"),
        "images": _join(*(f"{split} {count(number)}" for split, number in (data.get("images") or {}).items())),
        "git commit": f"{git['sha']}{', with changes' if git.get('dirty') else ''}" if git.get("sha") else None,
        "plugins": _join(*(f"{each.get('id')} {each.get('version')}" for each in plugins)),
        "machine": _machine(run.get("machine") or {}),
        "versions": _join(*(f"{name} {version}" for name, version in (run.get("versions") or {}).items() if version)),
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def checks(run: Mapping[str, Any]) -> list[Fact]:
    """Return what the run found out about its first batch and about what was frozen, as far as it is recorded."""
    facts: list[Fact] = []
    for key, record in (("first_batch", BatchRecord), ("audit", AuditRecord)):
        with suppress(ValidationError):
            facts += record.model_validate_json(json.dumps(run.get(key))).facts
    return facts


def _machine(machine: Mapping[str, Any]) -> str:
    memory, cpus = machine.get("memory_bytes"), machine.get("cpus")
    gpus = [str(gpu.get("name")) for gpu in machine.get("gpus") or []]
    return _join(
        machine.get("platform"),
        machine.get("processor"),
        f"{cpus} CPUs" if cpus else None,
        f"{memory / 2**30:.0f} GiB memory" if memory else None,
        *gpus,
    )


def _describe_saved(files: Files) -> str:
    """Say which weights ``model/`` holds."""
    saved = files.saved_metrics()
    if not saved:
        return "No model has been saved yet."
    return (
        f"The saved model is that of epoch {saved.get('epoch', UNKNOWN)}, step {count(saved.get('step'))}, "
        f"with mIoU {percent(saved.get('mean_iou'))}."
    )


def _describe_absent(classes: Iterable[ClassRow]) -> str:
    absent = [row.iou is None for row in classes]
    if not any(absent):
        return ""
    verb = "occurs" if sum(absent) == 1 else "occur"
    return f"{sum(absent)} of {len(absent)} classes {verb} neither in the masks nor in the predictions."


def _epoch_cells(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "epoch": count(row.get("epoch")),
        "step": count(row.get("step")),
        "training loss": decimal(row.get("train_loss"), 4),
        "validation loss": decimal(row.get("val_loss"), 4),
        "mIoU": percent(row.get("mean_iou")),
        "pixel accuracy": percent(row.get("pixel_accuracy")),
        "mean Dice": percent(row.get("mean_dice")),
        "images/s": decimal(row.get("images_per_second"), 1),
        "data wait": percent(row.get("data_wait")),
        "time": duration(row.get("seconds")),
    }


def _embed(path: Path) -> str | None:
    return data_uri(path) if path.is_file() else None


def _read_text(path: Path) -> str:
    """Return a file's text, or nothing where there is no such file."""
    return path.read_text(errors="replace") if path.is_file() else ""


def _parse(text: str) -> dict[str, Any]:
    """Parse a JSON object; what is none, such as a line that a kill cut short, is empty."""
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _css(color: Iterable[int] | None) -> str | None:
    return None if color is None else "#" + "".join(f"{int(part):02x}" for part in color)


def _join(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _time(stamp: str | None) -> str | None:
    return None if stamp is None else stamp.replace("T", " ").replace("+00:00", " UTC")
