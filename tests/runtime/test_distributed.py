"""Several processes train as one does: the same losses, weights and scores, one writer, and nobody waits in vain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segzoo.data.loading.plan import Plan
from segzoo.errors import RecipeError
from segzoo.recipe import load_recipe
from segzoo.runs.checkpoint import BEST, LAST, read_checkpoint
from segzoo.runtime.distributed import ALONE, ProcessLost, World
from segzoo.runtime.launch import Launch
from segzoo.training.finetune import finetune
from segzoo.training.trials.verify import UNTIMED

SCRIPT = Path(__file__).with_name("launched_run.py")

# Without batch norm and dropout, so that an image's logits do not depend on who else is in the batch.
NETS = """
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(in_channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))
        self.head = nn.Conv2d(6, num_classes, 1)

    def forward(self, image):
        return self.head(F.relu(self.encoder(image)))

def build(params, *, in_channels, num_classes):
    return Net(in_channels, num_classes)
"""
SPEC = """
from segzoo import ModelSpec
from segzoo.spec import Params

class NoParams(Params):
    pass

SPEC = ModelSpec(name="net", summary="Three convolutions", family="tests", builder="tiny_nets:build", params=NoParams,
                 license="MIT")
"""

TRAINING, VALIDATION = 12, 5
SIZE = 16


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the path of Python with a small model in it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "tiny_nets.py").write_text(NETS)
    (folder / "tiny_specs.py").write_text(SPEC)
    info = folder / "tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[segzoo.models]\nnet = tiny_specs:SPEC\n")
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recipe on images of which many have no label that counts, and some a few."""
    root = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for split, count in (("train", TRAINING), ("val", VALIDATION)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            mask = draw.integers(3, size=(SIZE, SIZE), dtype=np.uint8)
            image = (60 * mask[..., None] + draw.integers(80, size=(SIZE, SIZE, 3))).astype(np.uint8)
            mask[: ignored_rows(split, number)] = 255
            Image.fromarray(image).save(root / split / "images" / f"{number:02}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{number:02}.png")
    path = root / "recipe.json"
    content = {
        "recipe_version": 1,
        "name": "shared",
        "model": {"name": "tiny/net", "weights": None},
        "data": {"format": "folder", "root": str(root), "classes": [{"name": name} for name in "abc"]},
        "augment": [{"name": "HorizontalFlip", "p": 0.5}],
        "loss": [
            {"name": "cross_entropy", "class_weights": [1.0, 2.0, 0.5]},
            {"name": "dice", "weight": 0.5},
            {"name": "lovasz", "weight": 0.5},
        ],
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.001},
        "scheduler": {"name": "constant"},
        "train": {"epochs": 2, "batch_size": 4, "threads": 1, "workers": 0},
    }
    path.write_text(json.dumps(content))
    return path


def ignored_rows(split: str, number: int) -> int:
    """Return how many rows of an image are ignored: all of every other training image, few or many elsewhere."""
    return SIZE if split == "train" and number % 2 else number


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[subprocess.Popen[str]]:
    """Return a process that starts others without the seconds of importing."""
    paths = filter(None, (str(site), os.environ.get("PYTHONPATH")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, str(SCRIPT)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.communicate(timeout=60)


class Launcher:
    """Starts runs of a recipe in several processes.

    Args:
        server: Runs them.
        recipe: The recipe.
        folder: Where the runs go.
    """

    def __init__(self, server: subprocess.Popen[str], recipe: Path, folder: Path) -> None:
        self._server = server
        self._recipe = recipe
        self.folder = folder

    def run(self, name: str, processes: int, *changes: str, **more: Any) -> dict[str, Any]:
        """Train into the run of that name, going on where there is one, and return exit codes and messages."""
        sets = [word for change in changes for word in ("--set", change)]
        words = ["finetune", str(self._recipe), "--out", str(self.folder / name), "--device", "cpu", "--resume", *sets]
        job = {"command": words, "processes": processes, **more}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        result: dict[str, Any] = json.loads(self._server.stdout.readline())
        return result

    def train(self, name: str, processes: int, *changes: str, **more: Any) -> Path:
        """Do what ``run`` does, to a good end, and return the run."""
        result = self.run(name, processes, *changes, **more)
        assert set(result["codes"]) == {0}, result["messages"]
        assert not any(result["messages"][1:])
        return self.folder / name


@pytest.fixture
def launcher(server: subprocess.Popen[str], recipe: Path, tmp_path: Path) -> Launcher:
    """Return a launcher of small runs."""
    return Launcher(server, recipe, tmp_path)


def assert_close(left: Path, right: Path, *, rtol: float = 1e-4) -> None:
    """Compare weights, averages and metrics within what rounding explains."""
    states = [read_checkpoint(run / "checkpoints" / LAST) for run in (left, right)]
    for part in ("model", "average"):
        first, second = (state[part] or {} for state in states)
        assert first.keys() == second.keys()
        for name in first:
            torch.testing.assert_close(first[name], second[name], rtol=rtol, atol=1e-5, msg=f"{part}.{name}")
    for one, other in zip(*map(rows, (left, right)), strict=True):
        assert one == pytest.approx(other, rel=rtol, abs=1e-5)


def rows(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl as flat numbers, without what a clock says."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    flat = [{**line, **line["per_class_iou"], **line["lr"]} for line in lines]
    dropped = (*UNTIMED, "per_class_iou", "lr")
    return [{key: value for key, value in line.items() if key not in dropped} for line in flat]


def record(run: Path) -> dict[str, Any]:
    """Return what run.json holds."""
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def errors(result: dict[str, Any]) -> list[list[str]]:
    """Return the errors that each process told."""
    return [[line for line in text.splitlines() if line.startswith("error:")] for text in result["messages"]]


def test_some_shares_have_no_label_that_counts() -> None:
    """The runs below meet a batch of which one process has only ignored pixels, and the other has not."""
    plans = [Plan(TRAINING, 4, 0, process=process, processes=2) for process in (0, 1)]
    ignored = [
        [all(ignored_rows("train", index) == SIZE for _, index in plan.shares(step)[0]) for step in range(6)]
        for plan in plans
    ]
    assert any(left != right for left, right in zip(*ignored, strict=True))


def test_one_step_has_the_gradient_of_the_whole_batch(launcher: Launcher) -> None:
    """After a plain step with a rate of 1 the weights differ by the gradient: it is that of one process."""
    plain = ("optimizer.momentum=0.0", "optimizer.weight_decay=0.0", "optimizer.lr=1.0", "train.max_steps=1")
    one = launcher.train("one", 1, *plain)
    for processes in (2, 4):
        assert_close(one, launcher.train(f"several{processes}", processes, *plain), rtol=1e-5)


def test_two_processes_train_as_one(launcher: Launcher) -> None:
    """Accumulation, clipping, a moving average, other losses, figures: weights, losses, scores and files agree."""
    changes = (
        "train.accumulate=2",
        "train.grad_clip=0.5",
        "train.ema_decay=0.5",
        'loss=[{"name":"focal"},{"name":"tversky","alpha":0.3,"beta":0.7},{"name":"boundary_cross_entropy"}]',
        "train.batch_size=2",
    )
    left, right = (launcher.train(f"of{count}", count, *changes, figures=True) for count in (1, 2))
    assert_close(left, right)
    assert (record(left)["world_size"], record(right)["world_size"]) == (1, 2)
    assert record(right)["status"] == "finished"
    # TensorBoard names its files by time and process.
    files = ([path for path in run.rglob("*") if "tfevents" not in path.name] for run in (left, right))
    names = [sorted(path.relative_to(run) for path in found) for run, found in zip((left, right), files, strict=True)]
    assert names[0] == names[1]
    scores = [json.loads((run / "model/model.json").read_text())["metrics"] for run in (left, right)]
    assert scores[0]["scores"] == pytest.approx(scores[1]["scores"], rel=1e-4)
    assert scores[0]["intervals"]["boundary_f1"] == pytest.approx(scores[1]["intervals"]["boundary_f1"], rel=1e-4)


@pytest.mark.parametrize("images", [1, *(pytest.param(images, marks=pytest.mark.slow) for images in (3, 6))])
def test_every_image_is_scored_once(launcher: Launcher, images: int) -> None:
    """Counts and pictures are those of one process, also where the images do not come out even or one has none."""
    settings = (
        f'data={{"format":"shapes","size":[40,48],"counts":{{"train":4,"val":{images}}},"image_size":[32,32]}}',
        'loss=[{"name":"cross_entropy"}]',
        "optimizer.lr=1e-9",
        "train.max_steps=1",
        "eval.batch_size=3",
    )
    runs = [launcher.train(f"of{count}", count, *settings) for count in (1, 2)]
    best = [read_checkpoint(run / "checkpoints" / BEST)["state"]["best"] for run in runs]
    assert [found["images"] for found in best] == [images, images]
    assert torch.equal(best[0]["matrix"], best[1]["matrix"])
    pictures = [(run / "figures/learning/0001.png").read_bytes() for run in runs]
    assert pictures[0] == pictures[1]


def test_thawing_in_several_processes(launcher: Launcher) -> None:
    """An encoder that is frozen for an epoch and then trains: nothing frozen changes, and the weights agree."""
    changes = ("transfer.strategy=finetune", "transfer.unfreeze_encoder_at=2", "train.epochs=3")
    one, two = (launcher.train(f"of{count}", count, *changes) for count in (1, 2))
    assert_close(one, two)
    frozen = launcher.train("frozen", 2, "transfer.strategy=frozen_encoder", "train.epochs=1")
    kept, trained = (read_checkpoint(run / "checkpoints" / LAST)["model"] for run in (frozen, two))
    assert not torch.equal(kept["encoder.0.weight"], trained["encoder.0.weight"])


@pytest.mark.parametrize(("before", "after"), [(2, 1), pytest.param(1, 2, marks=pytest.mark.slow)])
def test_a_signal_to_one_stops_all_and_others_may_go_on(launcher: Launcher, before: int, after: int) -> None:
    """All stop after the same step, one saves, and another number of processes ends with the same result."""
    fault = [before - 1, "_train_step:2", int(signal.SIGTERM)]
    stopped = launcher.run("stopped", before, fault=fault)
    assert stopped["codes"] == [143] * before, stopped["messages"]
    assert [len(told) for told in errors(stopped)] == [1, 0][:before]
    assert record(launcher.folder / "stopped")["status"] == "interrupted"
    assert read_checkpoint(launcher.folder / "stopped/checkpoints" / LAST)["state"]["step"] == 2
    resumed = launcher.run("stopped", after)
    assert f"world_size {before} -> {after}" in resumed["messages"][0]
    assert_close(launcher.train("through", 1), launcher.folder / "stopped")


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_resuming_with_as_many_changes_no_bit(launcher: Launcher, processes: int) -> None:
    """Stopped within an epoch, before and after frozen layers thaw: the same weights, averages and metrics."""
    changes = ("train.epochs=3", "train.ema_decay=0.5", "transfer.strategy=finetune", "transfer.unfreeze_encoder_at=2")
    for step in (2, 5):
        fault = [1, f"_train_step:{step}", int(signal.SIGTERM)]
        assert launcher.run(f"stopped{step}", processes, *changes, fault=fault)["codes"] == [143] * processes
    through = launcher.train("through", processes, *changes)
    for step in (2, 5):
        resumed = launcher.train(f"stopped{step}", processes, *changes)
        states = [read_checkpoint(run / "checkpoints" / LAST) for run in (through, resumed)]
        for part in ("model", "average"):
            assert all(torch.equal(tensor, states[1][part][name]) for name, tensor in states[0][part].items())
        assert rows(through) == rows(resumed)


def test_a_signal_stops_a_validation_of_all(launcher: Launcher) -> None:
    """While the split is scored too, a signal to one process is heard by all."""
    stopped = launcher.run("stopped", 2, "eval.batch_size=2", fault=[1, "share:1", int(signal.SIGINT)])
    assert stopped["codes"] == [130, 130], stopped["messages"]
    assert not (launcher.folder / "stopped/metrics.jsonl").read_text()
    launcher.train("stopped", 2, "eval.batch_size=2")
    assert_close(launcher.train("through", 1), launcher.folder / "stopped")


@pytest.mark.parametrize(("place", "workers"), [("_train_step:4", 1), pytest.param("add:4", 0, marks=pytest.mark.slow)])
def test_when_one_dies_the_first_one_says_so(launcher: Launcher, place: str, workers: int) -> None:
    """Killed between steps or within one: the other ends by itself, with the way out, and the checkpoint is whole."""
    fault = [1, place, int(signal.SIGKILL)]
    result = launcher.run("dead", 2, f"train.workers={workers}", fault=fault)
    assert result["codes"] == [1, -signal.SIGKILL], result["messages"]
    (told,) = errors(result)[0]
    assert "another process broke" in told
    assert "--resume" in told
    assert record(launcher.folder / "dead")["status"] == "failed"
    assert read_checkpoint(launcher.folder / "dead/checkpoints" / LAST)["state"]["step"] == 3
    launcher.train("dead", 2)
    assert_close(launcher.train("through", 1), launcher.folder / "dead")


def test_when_the_first_one_dies_the_others_end_too(launcher: Launcher) -> None:
    """Nobody waits for the process that writes."""
    result = launcher.run("dead", 3, "train.batch_size=6", fault=[0, "_train_step:1", int(signal.SIGKILL)])
    assert result["codes"] == [-signal.SIGKILL, 1, 1], result["messages"]


def test_the_fault_of_another_process_is_told_by_the_first(launcher: Launcher) -> None:
    """One message has the reason, run.json has it too, and both end."""
    result = launcher.run("fault", 2, fault=[1, "_train_step:1", "the disk of that machine is gone"])
    assert result["codes"] == [1, 2], result["messages"]
    assert [len(told) for told in errors(result)] == [1, 0]
    assert "process 1 failed: the disk of that machine is gone. " in errors(result)[0][0]
    assert "the disk of that machine" in record(launcher.folder / "fault")["error"]


def test_what_all_meet_is_told_once(launcher: Launcher) -> None:
    """A loss that is not finite and data at fault end every process, with one message."""
    settings = ("optimizer.lr=1e30", "train.epochs=1")
    result = launcher.run("diverged", 2, *settings)
    assert result["codes"] == [1, 1], result["messages"]
    assert [len(told) for told in errors(result)] == [1, 0]
    assert "not finite" in errors(result)[0][0]
    result = launcher.run("missing", 2, "data.root=nowhere")
    assert result["codes"] == [2, 1], result["messages"]
    assert [len(told) for told in errors(result)] == [1, 0]
    assert not (launcher.folder / "missing").exists()


def test_an_odd_batch_is_shared_out(launcher: Launcher) -> None:
    """Five images among two processes are three and two: the result is that of one process."""
    changes = ("train.batch_size=8", 'data.splits={"train":"val","val":"val"}')
    one, two = (launcher.train(f"of{count}", count, *changes) for count in (1, 2))
    assert_close(one, two)


FEW = 'data={"format":"shapes","size":[40,48],"counts":{"train":3,"val":2},"image_size":[32,32]}'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("train.sync_batchnorm=true",), "SyncBatchNorm needs GPUs, but 4 processes train on cpu"),
        (("model.name=fast_scnn",), "train.batch_size 4 for 4 processes: the layer"),
        ((FEW, 'loss=[{"name":"dice"}]'), "make a batch of 3, of which 4 processes cannot all have a share"),
    ],
)
def test_refusals_are_told_once(launcher: Launcher, changes: tuple[str, ...], message: str) -> None:
    """What several processes cannot do is refused by name before the run begins, with one message."""
    result = launcher.run("refused", 4, *changes)
    assert result["codes"] == [2] * 4, result["messages"]
    assert [len(told) for told in errors(result)] == [1, 0, 0, 0]
    assert message in errors(result)[0][0]
    assert not (launcher.folder / "refused").exists()


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "segzoo", "finetune"]


def test_a_refusal_ends_a_launch_promptly(tmp_path: Path) -> None:
    """Under torchrun a typo is told once, long before the processes that wait for the first one would be killed."""
    words = ["quickstart", "--set", "train.batch_size=3", "--out", str(tmp_path / "run")]
    done = subprocess.run([*TORCHRUN, *words], capture_output=True, text=True, check=False, timeout=25)
    assert done.returncode == 1
    assert done.stderr.count("error: train.batch_size 3 is the batch of the whole run") == 1
    assert "exitcode  : 2" in done.stderr


@pytest.mark.slow
def test_torchrun_trains_batch_norms_and_stops_on_a_signal(tmp_path: Path) -> None:
    """A launch that is sent SIGTERM saves once, goes on afterwards, and prints one set of lines."""
    sets = ("data.size=[40,48]", "data.image_size=[32,32]", 'data.counts={"train":64,"val":5}', "train.epochs=12")
    words = [word for change in sets for word in ("--set", change)]
    command = [*TORCHRUN, "quickstart", "--out", str(tmp_path / "run"), "--device", "cpu", "--resume", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    last = tmp_path / "run/checkpoints" / LAST
    deadline = time.monotonic() + 60
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    messages = process.communicate(timeout=60)[1]
    assert messages.count("error: stopped by a signal") == 1, messages
    assert "go on with: torchrun … -m segzoo finetune" in messages
    assert record(tmp_path / "run")["status"] == "interrupted"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report:") == 1
    assert [row["epoch"] for row in rows(tmp_path / "run")] == list(range(1, 13))


def test_batches_that_do_not_divide_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message has both numbers, and comes before anything is written."""
    for name, value in {"WORLD_SIZE": "3", "RANK": "0", "LOCAL_WORLD_SIZE": "3", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="batch_size 16 is the batch of the whole run, and 3 processes"):
        finetune(load_recipe("quickstart"), out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_process_alone_adds_nothing() -> None:
    """Without others every method gives back what it was given."""
    sums = [torch.ones(2, requires_grad=True), torch.zeros(3)]
    assert all(given is found for given, found in zip(sums, ALONE.add(sums), strict=True))
    assert ALONE.collect("mine") == ["mine"]
    assert ALONE.interleave(["a", "b"]) == ["a", "b"]
    assert [ALONE.agree(signum) for signum in (None, 15)] == [None, 15]
    model = torch.nn.Linear(1, 1)
    assert ALONE.wrap(model) is model
    assert ALONE.explain(RuntimeError("gloo: connection closed")) is None


def test_only_broken_connections_are_a_lost_process() -> None:
    """Other errors of torch keep their own words."""
    world = World(Launch(0, 2, 0, 2), control=object())  # type: ignore[arg-type]
    lost = world.explain(RuntimeError("[gloo/transport/tcp/pair.cc:1] Connection closed by peer. Advice. More advice"))
    assert isinstance(lost, ProcessLost)
    assert "Connection closed by peer). The last good" in str(lost)
    assert world.explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
