"""What the tests under the null GPU share: its counters, and recipes of a few small images."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch

from segzoo.recipe import Recipe, load_recipe

if TYPE_CHECKING:  # importing it takes seconds, which not all tests need
    from segzoo.training.parts import Parts

NAMES = (
    "launches",
    "graph_launches",
    "synchronisations",
    "copies_to_device",
    "copies_to_host",
    "pageable_copies",
    "capture_violations",
)


class Counts(NamedTuple):
    """What the null GPU counted. Pageable copies are copies to the device, of memory that is not page-locked."""

    launches: int
    graph_launches: int
    synchronisations: int
    copies_to_device: int
    copies_to_host: int
    pageable_copies: int
    capture_violations: int

    @property
    def waits(self) -> dict[str, int]:
        """What makes the host wait for the device, where it happened."""
        names = ("synchronisations", "copies_to_host", "pageable_copies")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


class NullGpu:
    """The stand-in, as far as tests look into it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.null_gpu_limit_memory.argtypes = [ctypes.c_size_t]
        self._library.null_gpu_memory_used.restype = ctypes.c_size_t
        for name in NAMES:
            getattr(self._library, f"null_gpu_{name}").restype = ctypes.c_long

    def counts(self) -> Counts:
        """Return what was counted since the process began."""
        return Counts(*(getattr(self._library, f"null_gpu_{name}")() for name in NAMES))

    def spent(self, action: Callable[[], object]) -> Counts:
        """Run an action and return what was counted meanwhile."""
        before = self.counts()
        action()
        return Counts(*(after - start for after, start in zip(self.counts(), before, strict=True)))

    def limit_memory(self, size: int) -> None:
        """Limit the bytes of each device; 0 restores the limit that the process began with."""
        self._library.null_gpu_limit_memory(size)

    def memory_used(self, device: int) -> int:
        """Return the bytes that a device has given out."""
        return int(self._library.null_gpu_memory_used(device))


@pytest.fixture
def null_gpu() -> Iterator[NullGpu]:
    """Return the stand-in; its memory is without a limit again when the test ends."""
    gpu = NullGpu()
    yield gpu
    gpu.limit_memory(0)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Restore the current device and what runs set for the whole process."""
    threads = torch.get_num_threads()
    yield
    torch.cuda.set_device(0)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def fresh_memory() -> None:
    """Give all memory back to the devices, so that no result of a kernel reads as the weights of a former test.

    A training that continues on the CPU computes with what it reads.
    """
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs end without figures, which take longer than a small run."""
    monkeypatch.setattr("segzoo.training.session.draw_figures", lambda trainer, run: None)


SMALL = (
    "data.size=[64,64]",
    "data.image_size=[64,64]",
    'data.counts={"train":8,"val":4}',
    "model.weights=null",
    "train.batch_size=2",
    "train.epochs=1",
    "train.threads=1",
    "train.workers=0",
)


@pytest.fixture(scope="session")
def small() -> Callable[..., Recipe]:
    """Return a function that gives a recipe of four steps, with some changes."""
    return lambda *changes: load_recipe("quickstart", (*SMALL, *changes))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, small: Callable[..., Recipe]) -> Path:
    """Return a run that was trained on the CPU for a step."""
    from segzoo.training.finetune import finetune

    recipe = small("train.max_steps=1")
    return finetune(recipe, out=tmp_path_factory.mktemp("runs") / "run", device="cpu").folder


class Training:
    """A training that is built and not run: steps are made one by one, on a batch in page-locked memory.

    Args:
        parts: What the training is made of.
    """

    def __init__(self, parts: Parts) -> None:
        from segzoo.data.loading.loaders import Batch
        from segzoo.training.steps.step import TrainStep

        size = parts.recipe.data.image_size or (64, 64)
        images = torch.zeros(2, parts.recipe.model.in_channels, *size, dtype=torch.uint8)
        masks = torch.zeros(2, *size, dtype=torch.uint8)
        self.parts = parts
        self.batch = Batch(images.pin_memory(), masks.pin_memory(), ("first", "second"))
        self.step = TrainStep(
            predictor=parts.predictor,
            loss=parts.loss,
            optimizer=parts.optimizer,
            scaler=parts.scaler,
            average=parts.average,
            grad_clip=parts.recipe.train.grad_clip,
            device=parts.device,
        )

    def train(self) -> None:
        """Make one step of as many batches as the recipe accumulates."""
        self.step([self.batch] * self.parts.recipe.train.accumulate)


@pytest.fixture(scope="session")
def training() -> Callable[[Recipe, str], Training]:
    """Return a function that builds the training of a recipe on a device and makes its first step."""
    from segzoo.training.building import build_parts

    def build(recipe: Recipe, device: str) -> Training:
        built = Training(build_parts(recipe, torch.device(device))[0])
        built.train()
        return built

    return build
