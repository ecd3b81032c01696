"""``segzoo data check|show``."""

from __future__ import annotations

import errno
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from segzoo.recipe.schema import Recipe

CAMVID = Path(__file__).parents[3] / "shared" / "data" / "camvid"

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests' records out of the user's cache."""
    monkeypatch.setenv("SEGZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder of three classes in two splits; label 200 is in every mask of them."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
        for number in range(3):
            pixels = random.integers(0, 256, (40, 48, 3), np.uint8)
            mask = pixels[..., 0] % 3
            mask[0, :4] = 200
            Image.fromarray(pixels).save(tmp_path / "data" / split / "images" / f"{number}.png")
            Image.fromarray(mask).save(tmp_path / "data" / split / "masks" / f"{number}.png")
    return tmp_path / "data"


def write_recipe(folder: Path, **section: object) -> Path:
    """Write a recipe of three classes beside a folder of data."""
    data = {
        "format": "folder",
        "root": str(folder),
        "classes": [{"name": name} for name in ("sky", "sea", "land")],
        "ignore_labels": [200],
        **section,
    }
    path = folder.parent / "recipe.json"
    path.write_text(json.dumps({"recipe_version": 1, "name": "mine", "model": {"name": "fast_scnn"}, "data": data}))
    return path


def merge(recipe: dict[str, Any], fragment: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with a fragment laid over it: objects are joined, all else is replaced."""
    joined = dict(recipe)
    for key, value in fragment.items():
        both = isinstance(value, dict) and isinstance(recipe.get(key), dict)
        joined[key] = merge(recipe[key], value) if both else value
    return joined


def test_clean_data_is_0(run: Run, data: Path) -> None:
    """Without a finding the exit code is 0, and stdout holds the splits, the classes and a fragment."""
    result = run("data", "check", str(write_recipe(data)))
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    blocks = result.stdout.split("\n\n")
    assert blocks[0].splitlines()[0].split() == ["split", "samples", "height", "width", "ignored", "mean", "std"]
    assert blocks[0].splitlines()[1].split()[:5] == ["train", "3", "40/40/40", "48/48/48", "0.21%"]
    assert [line.split()[0] for line in blocks[1].splitlines()] == ["class", "sky", "sea", "land"]
    assert json.loads(blocks[2])["data"] == {"image_size": [40, 48]}


def test_findings_are_1(run: Run, data: Path) -> None:
    """Findings are listed with kind, split, file and message, counted, and end in exit code 1 with their number."""
    for name in ("0", "1"):
        (data / "val" / "images" / f"{name}.png").write_bytes(b"")
    (data / "train" / "masks" / "2.png").unlink()
    result = run("data", "check", str(write_recipe(data)))
    assert result.exit_code == 1
    assert result.stderr == "error: 3 findings in 3 files\n"
    rows, counts = (block.splitlines() for block in result.stdout.split("\n\n")[:2])
    assert rows[1].split()[:3] == ["missing_mask", "train", str(data / "train/images/2.png")]
    assert rows[2].split(maxsplit=3) == [
        "unreadable",
        "val",
        str(data / "val/images/0.png"),
        "the file is empty",
    ]
    assert [line.split() for line in counts] == [["kind", "findings"], ["missing_mask", "1"], ["unreadable", "2"]]


def test_json_has_rows_and_a_summary(run: Run, data: Path) -> None:
    """--json prints one document with the findings and all numbers."""
    (data / "val" / "images" / "0.png").write_bytes(b"")
    result = run("data", "check", str(write_recipe(data)), "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert document["rows"] == [
        {
            "kind": "unreadable",
            "split": "val",
            "file": str(data / "val/images/0.png"),
            "message": "the file is empty",
        }
    ]
    summary = document["summary"]
    assert summary["findings"] == {"unreadable": 1}
    assert summary["classes"] == ["sky", "sea", "land"]
    assert summary["splits"]["val"]["samples"] == 3
    assert summary["splits"]["train"]["ignored_share"] == pytest.approx(4 / (40 * 48))
    assert sum(summary["splits"]["train"]["class_pixels"].values()) == 3 * (40 * 48 - 4)
    assert sum(summary["splits"]["train"]["class_shares"].values()) == pytest.approx(1)
    assert len(summary["expected"]["mean"]) == len(summary["splits"]["train"]["mean"]) == 3
    assert set(summary["class_weights"]) == {"median_frequency", "enet"}


def test_fragment_makes_a_valid_recipe(run: Run, data: Path) -> None:
    """Laid over the recipe, the fragment is valid, and with it the check is clean and proposes nothing more."""
    recipe = write_recipe(data, ignore_labels=[])
    first = run("data", "check", str(recipe), "--json")
    assert first.exit_code == 1
    fragment = json.loads(first.stdout)["summary"]["fragment"]
    assert fragment["data"] == {"ignore_labels": [200]}
    recipe.write_text(json.dumps(merge(json.loads(recipe.read_text()), fragment)))
    second = run("data", "check", str(recipe), "--json")
    assert second.exit_code == 0, second.stderr
    fragment = json.loads(second.stdout)["summary"]["fragment"]
    assert fragment["data"] == {"image_size": [40, 48]}
    assert len(fragment["loss"][0]["class_weights"]) == 3
    recipe.write_text(json.dumps(merge(json.loads(recipe.read_text()), fragment)))
    third = run("data", "check", str(recipe), "--json")
    assert json.loads(third.stdout)["summary"]["fragment"] == {}


@pytest.mark.parametrize("inside", ["", "train"])
def test_folder_without_a_recipe_gets_a_data_section(run: Run, data: Path, inside: str) -> None:
    """A folder's layout, labels and mask mode are guessed, and what is proposed makes a recipe."""
    result = run("data", "check", str(data / inside), "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)["summary"]
    assert summary["labels"] == dict.fromkeys(("0", "1", "2", "200"), 3 if inside else 6)
    assert summary["expected"] is None
    section = summary["fragment"]["data"]
    assert section["format"] == "folder"
    assert section["mask_mode"] == "index"
    assert section["ignore_labels"] == [200]
    assert [entry["name"] for entry in section["classes"]] == ["class_0", "class_1", "class_2"]
    bare = {"recipe_version": 1, "name": "mine", "model": {"name": "fast_scnn"}, "data": {}}
    recipe = data / "recipe.json"
    recipe.write_text(json.dumps(merge(bare, summary["fragment"])))
    Recipe.model_validate_json(recipe.read_text())
    assert run("data", "check", str(recipe)).exit_code == 0


def test_folder_with_a_fault_is_1(run: Run, data: Path) -> None:
    """Faults in a folder are found as in a recipe's data."""
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(data / "val" / "masks" / "1.png")
    result = run("data", "check", str(data), "--json")
    assert result.exit_code == 1
    assert [(row["kind"], row["file"]) for row in json.loads(result.stdout)["rows"]] == [
        ("colour_mask", str(data / "val/masks/1.png"))
    ]


def test_overrides_change_what_is_checked(run: Run, data: Path) -> None:
    """--set reaches the data section."""
    recipe = str(write_recipe(data))
    assert run("data", "check", recipe, "--set", "data.ignore_labels=[]").exit_code == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "there is neither a folder nor a recipe 'nowhere'"),
        (("camvid_segnett",), "Did you mean 'camvid_segnet'"),
        (("nowhere.json",), "no recipe file nowhere.json"),
        (("camvid_segnet",), "the data folder data/camvid is missing"),
        (("camvid_segnet", "--set", "data.rot=x"), "data.rot"),
        ((".",), "laid out in no known way"),
        ((".", "--set", "data.root=x"), "--set changes keys of a recipe, and . is a folder"),
    ],
    ids=["nothing", "typo", "no file", "no data", "wrong key", "unknown layout", "set on a folder"],
)
def test_nothing_to_check_is_2(refused: Callable[..., str], words: tuple[str, ...], message: str) -> None:
    """What cannot be checked at all ends in one message and exit code 2."""
    assert message in refused("data", "check", *words)


def test_progress_is_shown_on_a_terminal(terminal: Callable[..., str], data: Path) -> None:
    """A bar moves on stderr where that is a terminal."""
    recipe = str(write_recipe(data))
    assert "reading" in terminal("data", "check", recipe)
    assert "reading" not in terminal("data", "check", recipe, NO_COLOR="1")


def test_closed_stderr_is_no_finding(data: Path) -> None:
    """Where there is nowhere to show progress, clean data is still 0."""
    command = shlex.join([sys.executable, "-m", "segzoo", "data", "check", str(write_recipe(data))])
    done = subprocess.run(f"{command} 2>&-", shell=True, stdout=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith(b"split ")


@pytest.mark.parametrize("words", ["recipe", "folder"])
def test_folder_that_may_not_be_entered_is_2(
    refused: Callable[..., str], data: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """There is nothing to check where the data may not be looked into; the folder is named."""
    is_dir = Path.is_dir
    locked = str(data / "train" / "images")

    def deny(path: Path) -> bool:
        if str(path) == locked:
            raise PermissionError(errno.EACCES, "Permission denied", locked)
        return is_dir(path)

    recipe = str(write_recipe(data))
    monkeypatch.setattr(Path, "is_dir", deny)
    message = refused("data", "check", recipe if words == "recipe" else str(data))
    assert message == f"{locked}: Permission denied; the data cannot be listed"


def test_show_draws_a_picture(run: Run, data: Path) -> None:
    """The command writes a PNG, prints its path, and does not replace a file unless told to."""
    recipe = str(write_recipe(data))
    result = run("data", "show", recipe, "--out", "picture.png", "--count", "2")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "picture.png\n"
    with Image.open("picture.png") as picture:
        first = picture.copy()
    again = run("data", "show", recipe, "--out", "picture.png")
    assert again.exit_code == 2
    assert "picture.png exists; choose another name, or pass --overwrite" in again.stderr
    other = ("--split", "val", "--seed", "1", "--overwrite")
    assert run("data", "show", recipe, "--out", "picture.png", *other).exit_code == 0
    with Image.open("picture.png") as picture:
        assert picture.height > first.height


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "x.jpg"), "--out must end in .png, got 'x.jpg'"),
        (("--out", "no/x.png"), "the folder no does not exist"),
        (("--out", "x.png", "--split", "vall"), "Did you mean 'val'"),
        (("--out", "x.png", "--count", "0"), "--count"),
        (("--out", "x.png", "--seed", "-1"), "--seed"),
        ((), "--out"),
    ],
    ids=["suffix", "folder", "split", "count", "seed", "no file"],
)
def test_show_refuses(refused: Callable[..., str], data: Path, words: tuple[str, ...], message: str) -> None:
    """What cannot be drawn ends in one message, and nothing is written."""
    assert message in refused("data", "show", str(write_recipe(data)), *words)
    assert not Path("x.png").exists()


@pytest.mark.skipif(not CAMVID.is_dir(), reason="needs the CamVid sample beside the repository")
def test_camvid_is_clean(run: Run, tmp_path: Path) -> None:
    """The real validation images have no fault; a truncated copy of one is the only finding."""
    shutil.copytree(CAMVID / "val", tmp_path / "camvid" / "val")
    words = ("data", "check", "camvid_segnet", "--json", "--set", f"data.root={tmp_path / 'camvid'}")
    words = (*words, "--set", 'data.splits={"train": "val"}', "--set", "eval.split=train")
    clean = run(*words)
    assert clean.exit_code == 0, clean.stderr
    assert json.loads(clean.stdout)["rows"] == []
    damaged = min((tmp_path / "camvid" / "val" / "images").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    result = run(*words)
    assert [(row["kind"], row["file"]) for row in json.loads(result.stdout)["rows"]] == [("unreadable", str(damaged))]
