"""``segzoo finetune`` as a user types it: what it prints, where it stops, and with which exit code."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

SMALL = ("data.size=[32,32]", "data.image_size=[32,32]", 'data.counts={"train":4,"val":2}', "train.max_steps=2")
SMALLER = ("train.batch_size=2", "train.threads=1")

CAMVID = Path(__file__).parents[3] / "shared" / "data" / "camvid"


def settings(*assignments: str) -> list[str]:
    """Return each assignment behind its own --set."""
    return [word for assignment in assignments for word in ("--set", assignment)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a CamVid folder of three images a split."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "camvid" / split / kind).mkdir(parents=True)
        for number in range(3):
            name = f"{split}{number}"
            image = rng.integers(0, 255, (40, 56, 3), dtype=np.uint8)
            mask = rng.integers(0, 12, (40, 56), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "camvid" / split / "images" / f"{name}.jpg")
            Image.fromarray(mask).save(tmp_path / "camvid" / split / "masks" / f"{name}.png")
    return tmp_path / "camvid"


def train_on(folder: Path, *more: str) -> list[str]:
    """Return the command that trains two steps on a CamVid folder."""
    changes = (f"data.root={folder}", "data.image_size=[32,48]", "train.max_steps=2", "train.workers=0", *SMALLER)
    return ["finetune", "camvid_fast_scnn", "--device", "cpu", *settings(*changes, "augment=[]"), *more]


@pytest.mark.slow
def test_resume_needs_no_weights_that_are_gone(run: Callable[..., Result], refused: Callable[..., str]) -> None:
    """What a run started from is not looked for where its checkpoint is; a dry run and a new run miss it."""
    words = ["finetune", "quickstart", "--device", "cpu", *settings(*SMALL, *SMALLER)]
    assert run(*words, "--out", "start").exit_code == 0
    warm = [*words, *settings("transfer.strategy=finetune", "model.weights=start/model"), "--resume"]
    assert run(*warm).exit_code == 0
    shutil.rmtree("start")
    grown = [*warm, *settings("train.max_steps=3")]
    for more in (["--dry-run"], ["--out", "new"]):
        assert "no file or run directory is named 'start/model'" in refused(*grown, *more)
    result = run(*grown)
    assert result.exit_code == 0, result.stderr
    assert "resumed after step 2 of 3" in result.stderr


def test_a_run_prints_where_its_results_are(run: Callable[..., Result]) -> None:
    """Stdout holds the paths, stderr the epochs, and every path exists."""
    result = run("finetune", "quickstart", "--device", "cpu", *settings(*SMALL, *SMALLER))
    assert result.exit_code == 0, result.stderr
    paths = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert list(paths) == ["run:", "report:", "samples:", "model:"]
    assert paths["run:"] == "runs/quickstart"
    assert all(Path(path).exists() for path in paths.values())
    assert "epoch 1/1" in result.stderr

    again = run("finetune", "quickstart", "--device", "cpu", *settings(*SMALL, *SMALLER))
    assert (again.exit_code, again.stdout) == (2, "")
    assert "runs/quickstart exists; pass --resume" in again.stderr


def test_files_on_disk_train_too(run: Callable[..., Result], folder: Path) -> None:
    """A CamVid tree with void pixels ends in a finished run."""
    result = run(*train_on(folder, "--out", "out"))
    assert result.exit_code == 0, result.stderr
    assert json.loads(Path("out/run.json").read_text())["status"] == "finished"


def test_dry_run_prints_the_resolved_recipe(run: Callable[..., Result]) -> None:
    """Stdout is the recipe as it would run, stderr has the parameter count, nothing is written."""
    result = run("finetune", "camvid_segnet", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"]["name"] == "segzoo/segnet"
    assert "segzoo/segnet: 29,449,355 parameters" in result.stderr
    assert "data/camvid is missing" in result.stderr
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (Path(__file__).parents[2] / "recipes").glob("*.json")))
def test_every_shipped_recipe_dry_runs(run: Callable[..., Result], recipe: str) -> None:
    """What segzoo ships is right in every key, argument and shape."""
    result = run("finetune", recipe, "--dry-run")
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--set", "train.epocs=3"], 2, "train has no key 'epocs'. Did you mean 'epochs'"),
        (["--set", "model.name=fast_scn"], 2, "no model named 'fast_scn'. Did you mean 'fast_scnn'"),
        (["--set", "model.params.dropuot=0.1"], 2, "model.params.dropuot = 0.1: unknown key. Did you mean 'dropout'"),
        (["--set", "augment.0.name=HorizontalFlp"], 2, "'HorizontalFlp'. Did you mean 'HorizontalFlip'"),
        (["--set", "eval.window=[64, 8]"], 2, "eval.window [64, 8] is below the 32 pixels that fast_scnn needs"),
        (["--device", "cuda:99"], 3, "'cuda:99' is not here; there is"),
        (["--resume", "--overwrite"], 2, "--resume and --overwrite contradict each other"),
        (["--set", 'requires=["no-such-package>=1"]'], 3, "no-such-package is not installed"),
    ],
    ids=str,
)
def test_faults_are_told_in_one_message(refused: Callable[..., str], words: list[str], code: int, message: str) -> None:
    """The message has the value and the way out, and nothing is left behind."""
    assert message in refused("finetune", "quickstart", *words, code=code)
    assert not Path("runs/quickstart").exists()


def break_image(folder: Path) -> None:
    """Cut a JPEG off."""
    path = folder / "train/images/train1.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def lose_mask(folder: Path) -> None:
    """Delete a mask."""
    (folder / "train/masks/train1.png").unlink()


def mislabel(folder: Path) -> None:
    """Put a label into a mask that no class has."""
    path = folder / "val/masks/val1.png"
    mask = np.array(Image.open(path))
    mask[0, 0] = 12
    Image.fromarray(mask).save(path)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (break_image, "train1.jpg: the file is truncated"),
        (lose_mask, "train1.jpg: no mask"),
        (mislabel, "val1.png: labels outside the classes 0 to 10: 12"),
    ],
)
def test_faulty_data_is_named_before_training(
    refused: Callable[..., str], folder: Path, fault: Callable[[Path], None], told: str
) -> None:
    """Exit 2 with the file's name, and no run directory."""
    fault(folder)
    assert told in refused(*train_on(folder, "--out", "out"))
    assert not Path("out").exists()


@pytest.mark.parametrize("inside", [".", "train/images", "val/masks"])
def test_data_that_may_not_be_entered_is_named(
    refused: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    """Exit 2 with the folder and what the system says, and no run directory."""
    locked = folder / inside
    status = Path.stat

    def deny(path: Path, **options: bool) -> os.stat_result:
        if path == locked or locked in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return status(path, **options)

    monkeypatch.setattr(Path, "stat", deny)
    message = refused(*train_on(folder, "--out", "out"))
    assert "Permission denied" in message
    assert str(locked) in message
    assert not Path("out").exists()


def test_missing_data_folder_is_named(refused: Callable[..., str]) -> None:
    """Exit 2 with the folder and the layout that is expected."""
    assert "data folder /nowhere is missing" in refused(*train_on(Path("/nowhere")))


def test_data_and_weights_that_cannot_be_fetched_end_in_3(refused: Callable[..., str], tmp_path: Path) -> None:
    """Without a network the message has the file, the address and the offline way out, within 30 seconds.

    The network is replaced by addresses on this machine where nothing listens.
    """
    script = (
        "import segzoo.data.formats.voc as voc, sys\n"
        "from segzoo.cli import app\n"
        "voc.ARCHIVES = {year: (url.replace('https://thor.robots.ox.ac.uk', 'http://127.0.0.1:9'), *rest) "
        "for year, (url, *rest) in voc.ARCHIVES.items()}\n"
        "app(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, "finetune", "voc_unet_resnet34", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "VOCtrainval_11-May-2012.tar" in done.stderr
    assert "http://127.0.0.1:9/" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs/voc_unet_resnet34").exists()


@pytest.mark.slow
@pytest.mark.skipif(not CAMVID.is_dir(), reason="the real CamVid images are not here")
@pytest.mark.parametrize("recipe", ["camvid_fast_scnn", "camvid_unet_resnet34"])
def test_real_street_scenes(run: Callable[..., Result], recipe: str) -> None:
    """The CamVid recipes train on the real images, with their own augmentation; bf16 is for GPUs."""
    changes = (f"data.root={CAMVID}", "data.image_size=[96,128]", "train.batch_size=4", "train.max_steps=3")
    result = run("finetune", recipe, "--device", "cpu", *settings(*changes, "train.workers=0", "train.precision=fp32"))
    assert result.exit_code == 0, result.stderr
    record = json.loads(Path(f"runs/{recipe}/run.json").read_text())
    assert record["data"]["images"] == {"train": 367, "val": 101}
