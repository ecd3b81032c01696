"""A recorded step is the step; what CUDA does is played by the test where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from segzoo.data.loading.loaders import Batch
from segzoo.data.normalise import Normalise
from segzoo.errors import TrainingError
from segzoo.losses import CrossEntropy, Dice, WeightedSum
from segzoo.recipe.schema import Adam, AdamW, OptimizerSection, Sgd
from segzoo.scoring.evaluation import Compilation, Network
from segzoo.training.steps.average import WeightAverage
from segzoo.training.steps.graph_step import WARM_UP, GraphStep
from segzoo.training.steps.optimizers import build_optimizer, learning_rates, set_learning_rate
from segzoo.training.steps.step import Trainable, TrainStep
from segzoo.training.watch import weights_are_finite

HAS_GPU = torch.cuda.is_available()

STEPS = 20
OPTIMIZERS: tuple[OptimizerSection, ...] = (Sgd(), Adam(weight_decay=0.01), AdamW())
Step = Callable[[Sequence[Trainable]], Tensor]


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let equal steps have equal bits."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


class Small(nn.Module):
    """A network with batch norm and dropout whose kernels add up in a fixed order."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Conv2d(16, 5, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.encoder(image))
        return logits


def build(
    *,
    dtype: torch.dtype | None = None,
    section: OptimizerSection = AdamW(),  # noqa: B008 - it is frozen
    whole: bool = False,
    compiled: bool = False,
) -> TrainStep:
    """Return a step; a whole one clips and averages as well."""
    device = torch.device("cuda", 0)
    model = Small().to(device)
    compilation = Compilation(train_sizes_vary=False, eval_sizes_vary=False) if compiled else None
    normalise = Normalise((0.5,) * 3, (0.2,) * 3).to(device)
    return TrainStep(
        predictor=Network(model, normalise, device=device, dtype=dtype, channels_last=False, compilation=compilation),
        loss=WeightedSum([(1.0, CrossEntropy(ignore_index=255)), (0.5, Dice(ignore_index=255))]),
        optimizer=build_optimizer(model, section, encoder_scale=0.1, layer_decay=None, fused=True),
        scaler=torch.amp.GradScaler("cuda", enabled=dtype is torch.float16),
        average=WeightAverage(model, 0.9) if whole else None,
        grad_clip=1.0 if whole else None,
        device=device,
    )


def batch(images: int, seed: int) -> Batch:
    """Return random images and labels in page-locked memory."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (images, 3, 64, 64), generator=generator, dtype=torch.uint8)
    labels = torch.randint(5, (images, 64, 64), generator=generator, dtype=torch.uint8)
    return Batch(pixels.pin_memory(), labels.pin_memory(), tuple(map(str, range(images))))


def train(step: TrainStep, made: Step, *, accumulate: int) -> list[float]:
    """Make steps with seeds, learning rates and batches of their own, one of them smaller, and return the losses."""
    losses = []
    for number in range(STEPS):
        torch.manual_seed(number)
        set_learning_rate(step.optimizer, 0.01 / (number + 1))
        images = 5 if number == STEPS // 2 else 8
        losses.append(made([batch(images, 2 * number + part) for part in range(accumulate)]))
    return [loss.item() for loss in losses]


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="there is no CUDA device")
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("section", OPTIMIZERS, ids=lambda section: section.name)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16], ids=str)
def test_a_recorded_step_is_the_step(
    dtype: torch.dtype | None, section: OptimizerSection, accumulate: int, compiled: bool
) -> None:
    """With dropout, learning rates that change and a batch of another shape: the same weights, averages and states."""
    plain, other = (build(dtype=dtype, section=section, whole=accumulate > 1, compiled=compiled) for _ in range(2))

    losses = [train(plain, plain, accumulate=accumulate), train(other, GraphStep(other), accumulate=accumulate)]

    assert losses[0] == pytest.approx(losses[1], rel=1e-5)  # the loss alone is added up in any order
    for name, tensor in plain.predictor.model.state_dict().items():
        assert torch.equal(tensor, other.predictor.model.state_dict()[name]), name
    if plain.average is not None and other.average is not None:
        for left, right in zip(plain.average.model.parameters(), other.average.model.parameters(), strict=True):
            assert torch.equal(left, right)
    assert plain.scaler.state_dict() == other.scaler.state_dict()
    assert learning_rates(plain.optimizer) == learning_rates(other.optimizer)
    for one, two in zip(plain.optimizer.param_groups, other.optimizer.param_groups, strict=True):
        assert {key: one[key] for key in one if key != "params"} == {key: two[key] for key in two if key != "params"}


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="there is no CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_nothing_waits_after_the_recording() -> None:
    """Copies, rates, the launch and the loss are queued without waiting for the device."""
    step = build()
    recorded = GraphStep(step)
    batches = [batch(8, number) for number in range(WARM_UP + 3)]
    for each in batches[: WARM_UP + 1]:
        recorded([each])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for each in batches[WARM_UP + 1 :]:
            set_learning_rate(step.optimizer, 0.01)
            recorded([each])
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="there is no CUDA device")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_weights_are_found_on_the_device(value: float) -> None:
    """The multi-tensor norm passes on what is not finite."""
    model = nn.Sequential(*(nn.Linear(50, 50) for _ in range(100))).cuda()
    assert weights_are_finite(model)
    with torch.no_grad():
        model[57].weight[3, 4] = value
    assert not weights_are_finite(model)


class Played:
    """A step that only adds up bytes times its learning rate, and the CUDA that records it.

    What is recorded reads the batch that it was recorded with, and writes the loss that it returned.
    """

    def __init__(self, *, fault: str | None = None) -> None:
        self.device = torch.device("cpu")
        self.optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.0)
        self.fault = fault
        self.calls: list[str] = []
        self.stream = "main"
        self._recorded: tuple[Sequence[Trainable], Tensor, Tensor] | None = None

    def __call__(self, batches: Sequence[Trainable]) -> Tensor:
        """Return the loss."""
        (group,) = self.optimizer.param_groups
        self.calls.append(self.stream)
        if self.stream == "recording":
            assert group["capturable"]
            if self.fault is not None:
                raise RuntimeError(self.fault)
            loss = torch.zeros(())
            self._recorded = batches, group["lr"], loss
            return loss
        assert not group["capturable"]
        return self.add_up(batches, group["lr"])

    @staticmethod
    def add_up(batches: Sequence[Trainable], rate: float | Tensor) -> Tensor:
        """Return the sum of the bytes times the rate."""
        sums = [batch.images.sum() + batch.masks.sum() for batch in batches if isinstance(batch.images, Tensor)]
        return torch.stack(sums).sum().float() * rate

    def replay(self) -> None:
        """Do what was recorded."""
        assert self._recorded is not None
        batches, rate, loss = self._recorded
        self.calls.append("replay")
        loss.copy_(self.add_up(batches, rate))

    @contextmanager
    def on(self, stream: str) -> Iterator[None]:
        """Do work on a stream."""
        self.stream, before = stream, self.stream
        try:
            yield
        finally:
            self.stream = before

    def wait_stream(self, _: object) -> None:
        """Order streams."""


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Played]:
    """Return a function that puts a played step in CUDA's place."""

    def start(*, fault: str | None = None) -> Played:
        played = Played(fault=fault)
        for name, value in {
            "Stream": lambda device: played,
            "current_stream": lambda device: played,
            "stream": lambda stream: played.on("side"),
            "CUDAGraph": lambda: played,
            "graph": lambda graph, stream: played.on("recording"),
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        return played

    return start


def pageable(images: int, seed: int) -> Batch:
    """Return a small random batch."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (images, 3, 2, 2), generator=generator, dtype=torch.uint8)
    return Batch(pixels, torch.full((images, 2, 2), seed, dtype=torch.uint8), ("name",) * images)


def test_every_call_is_one_step_of_its_own_batch(play: Callable[..., Played]) -> None:
    """Warm-up, recording and other shapes included: each loss is that of its batch and rate, and stays."""
    played = play()
    step = GraphStep(played)  # type: ignore[arg-type]
    losses, expected = [], []
    for number, images in enumerate([4, 4, 4, 4, 4, 3, 4]):
        rate = 0.5 / (number + 1)
        played.optimizer.param_groups[0]["lr"] = rate
        batches = [pageable(images, number), pageable(images, number + 50)]
        losses.append(step(batches))
        expected.append(Played.add_up(batches, rate).item())
        assert played.optimizer.param_groups[0]["lr"] == rate

    assert [loss.item() for loss in losses] == pytest.approx(expected, rel=1e-6)
    assert played.calls == ["side"] * WARM_UP + ["recording", "replay", "replay", "main", "replay"]


def test_a_step_that_cannot_be_recorded_is_refused(play: Callable[..., Played]) -> None:
    """The message has CUDA's reason and the way out; the optimizer is as it was."""
    played = play(fault="operation not permitted when stream is capturing\nCompile with ...")
    step = GraphStep(played)  # type: ignore[arg-type]
    for number in range(WARM_UP):
        step([pageable(4, number)])
    told = (
        r"cannot be recorded as a CUDA graph: operation not permitted when stream is capturing\. Set train\.cuda_graph"
    )
    with pytest.raises(TrainingError, match=told):
        step([pageable(4, WARM_UP)])
    assert played.optimizer.param_groups[0]["lr"] == 0.0


def test_a_recording_that_needs_too_much_memory_is_no_other_fault(play: Callable[..., Played]) -> None:
    """The error of the device passes, so that the run can suggest a batch size."""
    step = GraphStep(play(fault="CUDA out of memory"))  # type: ignore[arg-type]
    for number in range(WARM_UP):
        step([pageable(4, number)])
    with pytest.raises(RuntimeError, match="out of memory"):
        step([pageable(4, WARM_UP)])
