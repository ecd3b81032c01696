"""Shows that a training step and the scoring of a batch never wait for the GPU, with several models and every loss.

Usage: python benchmarks/no_sync.py [--models a,b] [--size 128] [--batch 4] [--device cuda] [--out FILE.json]

Each case is warmed up. Then ``torch.cuda.set_sync_debug_mode("error")`` makes torch raise where it would wait: for a
copy from ordinary memory, a value that Python reads, a shape that depends on values. Batches are in host memory, as
they come from the loaders. torch does not see what a library waits for outside torch's own operations.
"""

from __future__ import annotations

import argparse
import json
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from pydantic import TypeAdapter

import segzoo
from segzoo.build import build_from_spec
from segzoo.data.loading.loaders import Batch, EvalBatch
from segzoo.data.normalise import Normalise, channel_statistics
from segzoo.environment import collect
from segzoo.losses import WeightedSum, build_loss
from segzoo.params import validate_params
from segzoo.plugins import get_spec
from segzoo.recipe.schema import AdamW, LossTerm
from segzoo.runtime.device import choose_device
from segzoo.scoring.evaluation import Network, score_split
from segzoo.training.steps.optimizers import build_optimizer, set_learning_rate
from segzoo.training.steps.step import TrainStep
from segzoo.training.watch import LossWatch

MODELS = ("fast_scnn", "segnet", "unet_resnet34", "deeplabv3plus_mobilenet_v2", "smp_segformer")
CLASSES, IGNORED = 11, 255
PACKAGE = Path(segzoo.__file__).parent
STEPS = 3
"""Steps, and batches of an evaluation, under watch."""

Phase = Literal["training", "evaluation"]


class Case(NamedTuple):
    """One model with one loss in training or evaluation.

    Args:
        model: The model's name.
        loss: The loss's name.
        phase: What was run.
        wait: Where it waits for the device; None where it does not.
    """

    model: str
    loss: str
    phase: Phase
    wait: str | None


def losses() -> list[str]:
    """Return the names of all losses."""
    union, *_ = get_args(LossTerm)
    return [str(get_args(member.model_fields["name"].annotation)[0]) for member in get_args(union)]


def loss_named(name: str, device: torch.device) -> WeightedSum:
    """Return a loss with its default settings; cross-entropy weighs its classes."""
    weights = [1.0 + number / CLASSES for number in range(CLASSES)]
    term = TypeAdapter[LossTerm](LossTerm).validate_python({"name": name})
    return build_loss([term], ignore_index=IGNORED, class_weights=[weights if name == "cross_entropy" else None]).to(
        device
    )


def predictor_of(model: str, device: torch.device) -> Network:
    """Return a model on the device in bfloat16 and channels last."""
    spec = get_spec(model)
    params = validate_params(spec, {})
    spec = spec.refined(params)
    torch.manual_seed(0)
    network = build_from_spec(spec, params, num_classes=CLASSES, in_channels=3)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    normalise = Normalise(*channel_statistics(spec.input, 3)).to(device)
    return Network(network, normalise, device=device, dtype=torch.bfloat16, channels_last=True)


def host_batches(size: int, batch: int) -> list[Batch]:
    """Return batches in page-locked memory, as the training loader's are."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(2):
        images = torch.randint(256, (batch, 3, size, size), generator=generator, dtype=torch.uint8)
        masks = torch.randint(CLASSES, (batch, size, size), generator=generator, dtype=torch.uint8)
        masks[:, :4] = IGNORED
        found.append(Batch(images.pin_memory(), masks.pin_memory(), tuple(map(str, range(batch)))))
    return found


@contextmanager
def watched() -> Iterator[None]:
    """Let torch raise inside the block where it would wait for the device."""
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the check is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def train(predictor: Network, loss: WeightedSum, batches: Sequence[Batch]) -> None:
    """Make steps as the training loop does: seed, learning rate, step, watch of the loss."""
    device = predictor.device
    optimizer = build_optimizer(predictor.model, AdamW(name="adamw"), encoder_scale=1.0, layer_decay=None, fused=True)
    step = TrainStep(
        predictor=predictor,
        loss=loss,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(device.type, enabled=False),
        average=None,
        grad_clip=1.0,
        device=device,
    )
    watch = LossWatch(device)

    def make(number: int) -> None:
        torch.manual_seed(number)
        set_learning_rate(optimizer, 1e-3)
        watch.add(step([batches[number % len(batches)]]), number)

    for number in range(2):
        make(number)
    with watched():
        for number in range(2, 2 + STEPS):
            make(number)


def score(predictor: Network, loss: WeightedSum, batches: Sequence[Batch]) -> None:
    """Score batches as an epoch does; the result at the end of a split has to be read, and is not watched."""

    def supply() -> Generator[EvalBatch]:
        yield as_scorable(batches[0])
        with watched():
            for number in range(STEPS):
                yield as_scorable(batches[number % len(batches)])

    with closing(supply()) as scorable:
        score_split(predictor, scorable, num_classes=CLASSES, ignore_index=IGNORED, loss=loss, device=predictor.device)


def as_scorable(batch: Batch) -> EvalBatch:
    """Return a batch as the evaluation's loader gives it: in page-locked memory, one mask for each image."""
    return EvalBatch(batch.images, tuple(batch.masks), batch.names)


def wait_of(run: Callable[[], None]) -> str | None:
    """Return where a function waits for the device; None where it does not.

    Raises:
        RuntimeError: If it fails for another reason.
    """
    try:
        run()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
        last = (own or frames)[-1]
        return f"{Path(last.filename).name}:{last.lineno}: {last.line}"
    return None


def cases(models: Sequence[str], size: int, batch: int, device: torch.device) -> Iterator[Case]:
    """Run every model with every loss."""
    batches = host_batches(size, batch)
    for model in models:
        predictor = predictor_of(model, device)
        for name in losses():
            loss = loss_named(name, device)
            yield Case(model, name, "training", wait_of(partial(train, predictor, loss, batches)))
            yield Case(model, name, "evaluation", wait_of(partial(score, predictor, loss, batches)))


def main() -> None:
    """Run all cases, print those that wait, and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    if device.type != "cuda":
        parser.error(f"--device must be a CUDA device, got {options.device!r}")
    torch.cuda.set_device(device)
    models = options.models.split(",")
    found = list(cases(models, options.size, options.batch, device))
    waiting = [case for case in found if case.wait is not None]
    for case in waiting:
        print(f"{case.model}, {case.loss}, {case.phase} waits at {case.wait}")
    print(f"{len(waiting)} of {len(found)} cases wait for the device")
    if options.out is not None:
        result = {"expected": 2 * len(models) * len(losses()), "cases": [case._asdict() for case in found]}
        options.out.write_text(json.dumps({**result, "environment": collect()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
