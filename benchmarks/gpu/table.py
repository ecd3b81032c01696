"""The plan: which parts there are, in which order, and how long each may take."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence

from gpu import judge
from gpu.part import ROOT, Part, Setup, Words
from segzoo.bench.selection import choose_models

MODES = "eager,channels_last,bf16,compile,graph,best"
CHUNKS = 4
"""Parts into which the zoo is split, so that none takes long."""

RECIPES = ("camvid_fast_scnn", "camvid_segnet", "camvid_unet_resnet34")
TINY_SIZE = "64x64"


def bench(setup: Setup, part: str, *words: str, size: str = "512x512") -> Words:
    """Return a command of ``segzoo bench``, in one process for each model."""
    shrunk = ("--quick", "--size", TINY_SIZE) if setup.tiny else ("--repeats", "1", "--size", size)
    return segzoo("bench", "--device", "cuda", *shrunk, *words, "--out", str(setup.rows(part)))


def segzoo(*words: str) -> Words:
    """Return a command of segzoo."""
    return (sys.executable, "-m", "segzoo", *words)


def script(name: str, *words: str) -> Words:
    """Return the command of a script next to ``gpu_plan.py``."""
    return (sys.executable, str(ROOT / "benchmarks" / name), *words)


def facts(setup: Setup, part: str) -> list[Words]:
    """Record versions, device and driver."""
    return [script("gpu_facts.py", "--out", str(setup.found(part)))]


def fast_scnn(setup: Setup, part: str) -> list[Words]:
    """Measure Fast-SCNN in all modes."""
    batches = "1" if setup.tiny else "1,8,32"
    return [bench(setup, part, "--models", "segzoo/fast_scnn", "--modes", MODES, "--batch", batches)]


def gpu_tests(setup: Setup, part: str) -> list[Words]:
    """Run the tests marked ``gpu``."""
    chosen = ("tests/bench/test_clock.py", "tests/inference/test_graphs.py") if setup.tiny else ()
    return [script("gpu_tests.py", "--out", str(setup.found(part)), *chosen)]


def no_sync(setup: Setup, part: str) -> list[Words]:
    """Prove that training and evaluation do not wait for the device."""
    shrunk = ("--size", "64", "--batch", "2", "--models", "fast_scnn,unet_resnet18") if setup.tiny else ()
    return [script("no_sync.py", *shrunk, "--out", str(setup.found(part)))]


def throughput(setup: Setup, part: str) -> list[Words]:
    """Compare the training loop with the bare step and with a plain loop."""
    shrunk = (
        *("--model", "fast_scnn", "--size", "64", "--batch", "4", "--no-compile", "--workers", "1", "--rounds", "1"),
        *("--steps", "4", "--epoch-steps", "4", "--epochs", "1", "--warm-up", "1"),
    )
    words = shrunk if setup.tiny else ("--rounds", "2")
    return [script("throughput.py", "--device", "cuda", *words, "--out", str(setup.found(part)))]


def latency(setup: Setup, part: str) -> list[Words]:
    """Measure one image at a time, in all modes."""
    return [
        bench(
            setup,
            part,
            *("--models", goal.model, "--modes", "eager,graph,best" if setup.tiny else MODES, "--batch", "1"),
            size="x".join(map(str, goal.size)),
        )
        for goal in (judge.GOALS[-1:] if setup.tiny else judge.GOALS)
    ]


def agreement(setup: Setup, part: str) -> list[Words]:
    """Compare the clock with triton's."""
    shrunk = ("--samples", "5", "--size", "64") if setup.tiny else ()
    return [script("clock_agreement.py", *shrunk, "--out", str(setup.found(part)))]


def zoo(chunk: int) -> Callable[[Setup, str], list[Words]]:
    """Return the commands that measure every ``CHUNKS``-th model, and tabulate what the zoo has so far."""

    def commands(setup: Setup, part: str) -> list[Words]:
        models = sorted(choose_models(["*"]))[chunk::CHUNKS][: 1 if setup.tiny else None]
        sweep = bench(
            setup, part, "--models", ",".join(models), "--modes", "eager,graph", "--batch", "1", "--timeout", "120"
        )
        quick = () if setup.tiny else ("--quick",)
        files = [setup.rows(f"zoo_{number}") for number in range(1, CHUNKS + 1)]
        known = [str(path) for path in files if path == setup.rows(part) or path.is_file()]
        table = segzoo("bench", "report", *known, "--no-modules", "--out", str(setup.out / "zoo.csv"))
        return [(*sweep, *quick), table]

    return commands


def camvid(setup: Setup, part: str) -> list[Words]:
    """Train a recipe on CamVid; a run that was stopped is resumed."""
    shrunk = ("train.max_steps=4", "train.batch_size=2", "train.precision=fp32", "eval.every_epochs=1")
    changes = (f"data.root={setup.camvid}", *(shrunk if setup.tiny else ()))
    return [
        segzoo(
            *("finetune", str(ROOT / "recipes" / f"{part}.json"), "--device", "cuda"),
            *("--out", str(setup.run(part)), "--resume"),
            *(word for change in changes for word in ("--set", change)),
        )
    ]


def lacks_pytest(_: Setup) -> str | None:
    """Return why tests cannot run."""
    return None if importlib.util.find_spec("pytest") else "pytest is not installed"


def lacks_camvid(setup: Setup) -> str | None:
    """Return why CamVid cannot be trained on."""
    if setup.camvid is None:
        return "no data: --camvid FOLDER names the folder of CamVid"
    return None if setup.camvid.is_dir() else f"no data: --camvid {setup.camvid} is no folder"


# fmt: off
PARTS: Sequence[Part] = (
    #    part           limit  least  commands     figures
    Part("environment",     1,   0.2, facts,       judge.no_goal),
    Part("fast_scnn",       6,   1.0, fast_scnn,   judge.failures),
    Part("tests",           6,   1.0, gpu_tests,   judge.tests, lacks_pytest),
    Part("no_sync",         4,   1.0, no_sync,     judge.no_sync),
    Part("throughput",      8,   4.0, throughput,  judge.throughput),
    Part("latency",         9,   1.0, latency,     judge.latency),
    Part("agreement",       4,   1.5, agreement,   judge.agreement),
    *(
    Part(f"zoo_{n + 1}",    8,   1.0, zoo(n),      judge.failures) for n in range(CHUNKS)
    ),
    *(
    Part(name,             10,   1.0, camvid,      judge.training, lacks_camvid, ends_at_limit=True) for name in RECIPES
    ),
)
"""The parts in the order in which they run, with their minutes."""
# fmt: on
