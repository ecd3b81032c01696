"""A step of several batches is that of one large batch, and nothing in it waits for the device."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from segzoo.data.loading.loaders import Batch
from segzoo.losses import CrossEntropy, Dice, Loss, WeightedSum
from segzoo.scoring.evaluation import Compilation, Network
from segzoo.training.steps.average import WeightAverage
from segzoo.training.steps.step import TrainStep, replaced
from segzoo.transfer import freeze

CPU = torch.device("cpu")
IGNORED = 255


def model_without_norms() -> nn.Module:
    """Return a network whose output for an image does not depend on the others of its batch."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))


def train_step(
    model: nn.Module,
    *,
    grad_clip: float | None = None,
    average: WeightAverage | None = None,
    scale: float | None = None,
    compilation: Compilation | None = None,
    more: Sequence[Loss] = (),
) -> TrainStep:
    """Return a step that uses plain gradient descent on the cross-entropy, perhaps with more losses."""
    return TrainStep(
        predictor=Network(model, _Floats(), device=CPU, dtype=None, channels_last=False, compilation=compilation),
        loss=WeightedSum([(1.0, CrossEntropy(ignore_index=IGNORED)), *((0.5, each) for each in more)]),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        scaler=torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None),
        average=average,
        grad_clip=grad_clip,
        device=CPU,
    )


class _Floats(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float() / 255


def batch(images: int, *, seed: int, ignored_rows: int = 0) -> Batch:
    """Return random images and labels."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(3, (images, 6, 7), generator=generator, dtype=torch.uint8)
    masks[:, :ignored_rows] = IGNORED
    pixels = torch.randint(256, (images, 3, 6, 7), generator=generator, dtype=torch.uint8)
    return Batch(pixels, masks, tuple(map(str, range(images))))


def joined(*batches: Batch) -> Batch:
    """Return the batches as one."""
    images, masks, names = zip(*batches, strict=True)
    return Batch(torch.cat(images), torch.cat(masks), tuple(name for group in names for name in group))


def test_several_batches_are_one_large_batch() -> None:
    """Loss and weights after the step agree, although the batches differ in size and in ignored pixels."""
    parts = [batch(2, seed=1), batch(2, seed=2, ignored_rows=5), batch(1, seed=3)]
    split, whole = model_without_norms(), model_without_norms()

    losses = [train_step(split)(parts), train_step(whole)([joined(*parts)])]

    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    for left, right in zip(split.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-7)


def test_batches_without_labels_change_nothing() -> None:
    """A step whose every pixel is ignored has the loss 0 and moves no weight."""
    model = model_without_norms()
    before = copy.deepcopy(model.state_dict())

    loss = train_step(model)([batch(2, seed=1, ignored_rows=6), batch(2, seed=2, ignored_rows=6)])

    assert loss.item() == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("scale", [None, 1024.0])
def test_clipping_limits_the_true_gradient(scale: float | None) -> None:
    """The norm of the step is the limit times the learning rate, whatever the loss was scaled by."""
    model = model_without_norms()
    before = [parameter.detach().clone() for parameter in model.parameters()]

    train_step(model, grad_clip=0.01, scale=scale)([batch(2, seed=1)])

    moved = [new.detach() - old for new, old in zip(model.parameters(), before, strict=True)]
    assert torch.cat([part.flatten() for part in moved]).norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_average_follows_each_step() -> None:
    """The average moves once a step, however many batches the step has."""
    model = model_without_norms()
    start = model[0].weight.detach().clone()
    average = WeightAverage(model, 0.75)

    train_step(model, average=average)([batch(1, seed=1), batch(1, seed=2)])

    expected = 0.75 * start + 0.25 * model[0].weight.detach()
    torch.testing.assert_close(average.model[0].weight, expected)


class Parts(nn.Module):
    """A network with an encoder and a head, with a batch norm each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.encoder(image))
        return logits


@pytest.mark.slow
def test_a_compiled_step_is_the_step() -> None:
    """Normalisation, model and loss in one function give the same weights, statistics and averages.

    Also over several batches, of several sizes, and in a new step after a part is frozen: nothing of the old one stays.
    """
    eager, compiled = Parts(), Parts()
    averages = [WeightAverage(model, 0.75) for model in (eager, compiled)]
    parts = [batch(2, seed=1), batch(2, seed=2, ignored_rows=5), batch(1, seed=3)]
    kinds = (None, Compilation(train_sizes_vary=False, eval_sizes_vary=False))
    for frozen in (False, True):
        if frozen:
            freeze(eager, "encoder")
            freeze(compiled, "encoder")
        before = copy.deepcopy(compiled.encoder.state_dict())
        steps = [
            train_step(model, average=average, grad_clip=0.5, compilation=kind, more=[Dice(ignore_index=IGNORED)])
            for model, average, kind in zip((eager, compiled), averages, kinds, strict=True)
        ]
        for batches in (parts, parts[:1]):
            losses = [step(batches).item() for step in steps]
            assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        for left, right in [(eager, compiled), (averages[0].model, averages[1].model)]:
            for name, tensor in left.state_dict().items():
                torch.testing.assert_close(tensor, right.state_dict()[name], rtol=1e-4, atol=1e-6, msg=name)
        kept = all(torch.equal(before[name], tensor) for name, tensor in compiled.encoder.state_dict().items())
        assert kept == frozen


def test_a_compiled_step_is_one_function() -> None:
    """From bytes and labels to the sums of the loss there is one graph: nothing breaks it."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()

    train_step(Parts(), compilation=Compilation(train_sizes_vary=False, eval_sizes_vary=False))([batch(2, seed=1)])

    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


def test_groups_get_their_values_back() -> None:
    """What is replaced for a while comes back, even where an error ends it."""
    groups = [{"lr": 0.1, "momentum": 0.9}, {"lr": 0.2, "momentum": 0.9}]
    before = copy.deepcopy(groups)

    def fail() -> None:
        with replaced(groups, [{"lr": 1.0}, {}]):
            assert [group["lr"] for group in groups] == [1.0, 0.2]
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert groups == before
