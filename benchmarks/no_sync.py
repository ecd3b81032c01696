"""A training step, an evaluation and every loss under torch's check for synchronisation, which raises an error.

Used by benchmarks/gpu_plan.py, and alone: python benchmarks/no_sync.py [--device cuda] [--models a,b]
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import torch

from segzoo.data.loading.loaders import train_loader
from segzoo.losses import build_loss
from segzoo.plugins import default_registry
from segzoo.recipe import load_recipe, resolve_recipe, schema
from segzoo.runtime.device import choose_device, on_device
from segzoo.runtime.distributed import ALONE
from segzoo.scoring.evaluation import Scorable, score_split
from segzoo.training.building import build_parts
from segzoo.training.steps.step import TrainStep
from segzoo.training.supply import Supply

MODELS = ("fast_scnn", "unet_resnet34", "segnet", "aspp_plus_mobilenet_v2", "segformer_resnet18")
LOSSES = (
    schema.CrossEntropy(class_weights=(1.0, 2.0, 0.5, 1.0, 1.0), label_smoothing=0.1),
    schema.Focal(),
    schema.DistanceFocal(),
    schema.Dice(),
    schema.Jaccard(),
    schema.Lovasz(),
    schema.Tversky(),
    schema.Ohem(),
    schema.BoundaryCrossEntropy(),
)
CLASSES, WARM_UP, STEPS = 5, 2, 4


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Raise an error where the host waits for the device."""
    if device.type != "cuda":
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the check is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def check_model(name: str, device: torch.device) -> None:
    """Train a few steps on procedural scenes and evaluate, in bf16 with a moving average and clipping.

    Raises:
        RuntimeError: If something waits.
    """
    changes = (
        f"model.name={name}",
        "model.weights=null",
        "data.size=[64,64]",
        "data.image_size=[64,64]",
        'data.counts={"train":32,"val":8}',
        "train.batch_size=4",
        "train.precision=bf16",
        "train.channels_last=true",
        "train.ema_decay=0.99",
        "train.grad_clip=1.0",
    )
    recipe = resolve_recipe(load_recipe("quickstart", changes), default_registry())
    parts, _ = build_parts(recipe, device)
    step = TrainStep(
        predictor=parts.predictor,
        loss=parts.loss,
        optimizer=parts.optimizer,
        scaler=parts.scaler,
        average=parts.average,
        grad_clip=1.0,
        device=device,
    )
    loader = train_loader(
        parts.data.source,
        "train",
        parts.data.transform,
        parts.data.plan,
        seed=0,
        start=0,
        stop=WARM_UP + STEPS,
        workers=0,
        pin_memory=device.type == "cuda",
    )
    batches = iter(loader)
    for batch in islice(batches, WARM_UP):
        step([batch])
    for batch in batches:
        with no_waiting(device):
            step([batch])
    score_split(
        parts.scorer,
        _guarded(Supply(parts, ALONE).evaluation(), device),
        num_classes=len(parts.data.source.classes),
        ignore_index=parts.data.source.ignore_index,
        loss=parts.loss,
        device=device,
        keep=4,
    )


def _guarded(batches: Iterable[Scorable | None], device: torch.device) -> Iterator[Scorable | None]:
    """Yield batches; what is done with each must not wait. Loading the next one may."""
    for batch in batches:
        with no_waiting(device):
            yield batch


def check_loss(term: schema.LossTerm, device: torch.device) -> None:
    """Take a loss of logits and its gradient.

    Raises:
        RuntimeError: If something waits.
    """
    weights = term.class_weights if isinstance(term, schema.CrossEntropy) else None
    given = None if weights is None or isinstance(weights, str) else weights
    loss = build_loss([term], ignore_index=255, class_weights=[given]).to(device)
    logits = torch.randn(2, CLASSES, 32, 40, device=device, requires_grad=True)
    target = torch.randint(0, CLASSES, (2, 32, 40), device=device)
    target[:, :4] = 255
    for place in range(2):
        with no_waiting(device) if place else no_waiting(torch.device("cpu")):
            torch.autograd.backward(loss(logits, target))


def faults(checks: Sequence[tuple[str, Callable[[], None]]]) -> dict[str, str | None]:
    """Return for each check the line of its error; None where nothing waits."""
    found: dict[str, str | None] = {}
    for name, check in checks:
        try:
            check()
        except RuntimeError as error:
            found[name] = str(error).splitlines()[0]
        else:
            found[name] = None
        print(f"{name:<28} {found[name] or 'never waits'}", file=sys.stderr)
    return found


def check_all(device: torch.device, models: Sequence[str] = MODELS) -> dict[str, str | None]:
    """Check models and losses on a device; see :func:`faults`."""
    checks: list[tuple[str, Callable[[], None]]] = [
        (name, lambda name=name: check_model(name, device))  # type: ignore[misc]
        for name in models
    ]
    checks += [(term.name, lambda term=term: check_loss(term, device)) for term in LOSSES]  # type: ignore[misc]
    with on_device(device):
        return faults(checks)


def main() -> int:
    """Check everything, print what waits as JSON, and return 1 where something does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", default=",".join(MODELS))
    options = parser.parse_args()
    found = check_all(choose_device(options.device), options.models.split(","))
    waiting = {name: fault for name, fault in found.items() if fault}
    print(json.dumps(waiting, indent=2))
    return int(bool(waiting))


if __name__ == "__main__":
    sys.exit(main())
