"""Scoring a trained model as its training did, on the split that it was validated on or on other data."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segzoo.data.formats.files import after_scan
from segzoo.data.loading.loaders import EvalBatch, eval_loader
from segzoo.data.loading.processes import choose_workers
from segzoo.data.normalise import Normalise
from segzoo.data.opening import open_source
from segzoo.data.scan import scan
from segzoo.data.source import Pixels, Source
from segzoo.data.transforms import resize
from segzoo.errors import UnknownName, UsageFault
from segzoo.files import prepare_folder
from segzoo.inference.augment import augmented
from segzoo.inference.description import find_model, is_exported, run_of
from segzoo.inference.loading import Loaded, load_model
from segzoo.inference.method import Augmentation
from segzoo.inference.score_files import Scores, UnwrittenError, summarise_scores, write_scores
from segzoo.losses import WeightedSum
from segzoo.recipe import Recipe, load_recipe
from segzoo.recipe.schema import CrossEntropy, TransferSection
from segzoo.runs.rundir import RunDirectory, RunRecord
from segzoo.runtime.device import fix_cublas, on_device, set_threads
from segzoo.runtime.out_of_memory import explaining_memory, lower
from segzoo.scoring.evaluation import Network, resize_logits, score_split
from segzoo.training.building import build_predictor, configure, loss_of
from segzoo.training.parts import eval_batch_size, eval_image_size
from segzoo.transfer import Features

logger = logging.getLogger(__name__)

SMALLER = "choose a smaller eval.batch_size in the recipe of --data, or --device cpu"

Watch = Callable[[int], Callable[[int], None]]
"""Is told how many images there are, and returns what is told of each further number."""


def evaluate(
    source: str | Path,
    *,
    data: Recipe | None = None,
    split: str | None = None,
    device: str = "auto",
    augmentations: Sequence[Augmentation] = (),
    out: str | Path | None = None,
    watch: Watch = lambda total: lambda done: None,
) -> Scores:
    """Score a trained model.

    A run is scored with the precision, the batch size, the layout of memory and the number of threads that it was
    trained with: on its own data, split and device the numbers are those that training reported, bit for bit.

    Args:
        source: A run directory, its ``model`` folder, any folder with ``model.json`` and ``model.safetensors``,
            ``hf-hub:owner/name``, or a file that ``segzoo export`` wrote.
        data: A recipe whose ``data`` and ``eval`` sections say what is scored and how; None is the run's own.
        split: One of its splits; None is ``eval.split``.
        device: ``auto``, or a torch device.
        augmentations: What predictions are averaged over: ``flip``, ``scales``.
        out: Folder for scores and pictures, named after the split and whatever differs from the run's own
            evaluation; those of a former one are replaced. None writes nothing.
        watch: Shows progress.

    Raises:
        UsageFault: If there is no such model, no data is named, its classes are not the model's, or nothing can be
            written in ``out``, which is tried before anything is scored.
        UnwrittenError: If ``out`` fails later; the error has the scores.
        DataError: If files of the split cannot be used.
        SegzooError: If device or memory is at fault.
    """
    run = None if is_exported(source) else run_of(find_model(source))
    own = None if run is None else load_recipe(RunDirectory(run).recipe_path)
    record = None if run is None else RunDirectory(run).record()
    if own is None and data is None:
        raise UsageFault(f"{source} is no run with data of its own; name a recipe with --data")
    recipe = _combine(own, data, split)
    threads = set_threads(recipe.train.threads if record is None else record.threads)
    loaded = load_model(source)
    chosen = loaded.choose_device(device)
    fix_cublas(chosen, deterministic=recipe.train.deterministic)
    _announce(record, chosen, threads)
    opened = open_source(recipe.data, seed=recipe.train.seed, in_channels=loaded.description.in_channels)
    _check_classes(loaded, opened)
    if out is not None:
        prepare_folder(Path(out))
    opened, loss = _scanned(recipe, opened, with_loss=data is None)
    score = _score(recipe, loaded, chosen, augmentations)
    with on_device(chosen), explaining_memory(lambda: lower(SMALLER)):
        found = score_split(
            score,
            _watched(_batches(recipe, opened, record, chosen), watch(len(opened.splits[recipe.eval.split]))),
            num_classes=len(opened.classes),
            ignore_index=opened.ignore_index,
            loss=None if loss is None else loss.to(chosen),
            device=chosen,
            detail=True,
        )
        scores = summarise_scores(loaded.description.title, recipe, opened, found, augmentations)
        if out is not None:
            named = () if data is None or own is None else (data.name,)
            stem = "-".join((*named, scores.split, *augmentations))
            try:
                write_scores(Path(out), stem, scores, opened, partial(_labels, score, eval_image_size(recipe)))
            except OSError as error:
                raise UnwrittenError(scores, error) from error
    return scores


def _combine(own: Recipe | None, data: Recipe | None, split: str | None) -> Recipe:
    """Return the recipe to score by: the run's, with what other data it is scored on."""
    if own is None or data is None:
        combined = own or data
        if combined is None:
            raise ValueError("there is neither a run's recipe nor another one")
    else:
        # The seed draws splits and scenes of the data; nothing else is drawn.
        train = own.train.model_copy(update={"seed": data.train.seed})
        combined = own.model_copy(update={"data": data.data, "eval": data.eval, "train": train})
    if own is None:
        # How another model is trained says nothing of this one.
        combined = combined.model_copy(update={"transfer": TransferSection()})
    chosen = split or combined.eval.split
    if chosen not in combined.data.split_names:
        raise UnknownName("split", chosen, combined.data.split_names)
    return combined.model_copy(update={"eval": combined.eval.model_copy(update={"split": chosen})})


def _announce(record: RunRecord | None, device: torch.device, threads: int) -> None:
    """Say what keeps the scores from being those of the training to the last bit."""
    if record is None:
        return
    changes = []
    if record.device is not None and torch.device(record.device).type != device.type:
        changes.append(f"device {record.device} -> {device}")
    if record.threads is not None and record.threads != threads:
        changes.append(f"threads {record.threads} -> {threads}")
    if changes:
        logger.warning("scores may differ from the training's in their last digits: %s", ", ".join(changes))


def _check_classes(loaded: Loaded, source: Source) -> None:
    """Refuse data whose labels mean something else."""
    known, found = loaded.description.names, tuple(entry.name for entry in source.classes)
    if known == found:
        return
    if len(known) != len(found):
        raise UsageFault(f"the model has {len(known)} classes ({_some(known)}), the data {len(found)} ({_some(found)})")
    label = next(label for label, pair in enumerate(zip(known, found, strict=True)) if pair[0] != pair[1])
    raise UsageFault(
        f"label {label} is {known[label]!r} to the model and {found[label]!r} in the data; give data.classes of the "
        "recipe the model's names and order if they mean the same"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (" …" if len(names) > 4 else "")


def _scanned(recipe: Recipe, source: Source, *, with_loss: bool) -> tuple[Source, WeightedSum | None]:
    """Read every file of the split once; return the source, and the loss where it is wanted."""
    named = any(isinstance(term, CrossEntropy) and isinstance(term.class_weights, str) for term in recipe.loss)
    splits = ["train", recipe.eval.split] if with_loss and named else [recipe.eval.split]
    report = scan(source, list(dict.fromkeys(splits)), num_classes=len(source.classes))
    source = after_scan(source)
    return source, loss_of(recipe, source, report) if with_loss else None


def _score(
    recipe: Recipe, loaded: Loaded, device: torch.device, augmentations: Sequence[Augmentation]
) -> Callable[[Tensor | Features], Tensor]:
    """Return what maps images to logits, as in training but for the augmentations."""
    description = loaded.description
    size = eval_image_size(recipe)
    if size != description.image_size and recipe.eval.window is None:
        logger.warning(
            "the network was trained on images of %s, and sees %s", _size(description.image_size), _size(size)
        )
    configure(recipe, device)
    layout = torch.channels_last if recipe.train.channels_last else torch.contiguous_format
    model = loaded.model.to(device, memory_format=layout)  # type: ignore[call-overload]
    predictor = build_predictor(model, Normalise(description.mean, description.std).to(device), recipe, device)
    if not augmentations:
        return predictor
    model.eval()
    averaged = augmented(predictor.logits, augmentations, min_size=loaded.min_size)
    return partial(_averaged, averaged, predictor)


def _averaged(averaged: Callable[[Tensor], Tensor], predictor: Network, images: Tensor | Features) -> Tensor:
    """Score images by what averages over augmentations, in the predictor's windows if it has any."""
    if not isinstance(images, Tensor):
        raise ValueError("features cannot be augmented")
    seen = images.to(predictor.device, non_blocking=True)
    return averaged(seen) if predictor.windows is None else predictor.windows.score(averaged, seen)


def _size(size: tuple[int, int] | None) -> str:
    return f"{size[0]}x{size[1]}" if size else "their own size"


def _batches(recipe: Recipe, source: Source, record: RunRecord | None, device: torch.device) -> Iterable[EvalBatch]:
    processes = 1 if record is None else record.world_size
    return eval_loader(
        source,
        recipe.eval.split,
        image_size=eval_image_size(recipe),
        batch_size=math.ceil(eval_batch_size(recipe) / processes),
        workers=choose_workers(recipe.train.workers, gpu=device.type != "cpu"),
        pin_memory=device.type == "cuda",
    )


def _watched(batches: Iterable[EvalBatch], advance: Callable[[int], None]) -> Iterator[EvalBatch]:
    for batch in batches:
        yield batch
        advance(len(batch.names))


def _labels(
    score: Callable[[Tensor | Features], Tensor], image_size: tuple[int, int] | None, image: Pixels, mask: Pixels
) -> Pixels:
    """Return the labels of one image in the size of its mask."""
    seen = image if image_size is None else resize(image, None, image_size)[0]
    with torch.inference_mode():
        logits = score(torch.from_numpy(np.ascontiguousarray(seen.transpose(2, 0, 1)))[None])
        labels: Pixels = (
            resize_logits(logits, (mask.shape[0], mask.shape[1]))[0].argmax(0).to("cpu", torch.uint8).numpy()
        )
    return labels
