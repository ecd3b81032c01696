"""From a recipe to all that a run is made of; whatever can be refused is refused here."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence

import torch
from pydantic import BaseModel
from torch import nn

from segzoo.build import build_from_spec
from segzoo.data.draws import derive_seed
from segzoo.data.loading.loaders import Batch, try_first_batch
from segzoo.data.loading.processes import choose_workers
from segzoo.data.normalise import Normalise, channel_statistics
from segzoo.data.scan import ScanReport
from segzoo.data.source import Source
from segzoo.errors import RecipeError
from segzoo.losses import WeightedSum, build_loss, enet_weights, median_frequency_weights
from segzoo.params import validate_params
from segzoo.plugins import get_spec
from segzoo.pretrained import Identity
from segzoo.recipe import Recipe
from segzoo.recipe.consistency import has_one_size
from segzoo.recipe.schema import CrossEntropy
from segzoo.runs.rundir import RunRecord
from segzoo.runtime.distributed import ALONE, World
from segzoo.runtime.out_of_memory import explaining_memory
from segzoo.scoring.evaluation import Compilation, Network, Windows
from segzoo.spec import ModelSpec
from segzoo.training.contract import check_first_batch
from segzoo.training.features import build_cut, check_cut, renew, warn_of_random_parts
from segzoo.training.parts import Parts, PreparedModel, shortage
from segzoo.training.preflight import check_batch_norm, warn_of_random_features
from segzoo.training.prepared_data import PreparedData, prepare_data, warn_of_odd_settings
from segzoo.training.steps.average import WeightAverage
from segzoo.training.steps.optimizers import build_optimizer
from segzoo.weights import load_pretrained

logger = logging.getLogger(__name__)

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def build_parts(
    recipe: Recipe, device: torch.device, *, resumed: RunRecord | None = None, world: World = ALONE
) -> tuple[Parts, ScanReport]:
    """Open and scan the data, then build all that a run is made of; whatever can be refused is refused here.

    Args:
        recipe: The resolved recipe.
        device: Where it is trained.
        resumed: The record of a run whose checkpoint will replace the weights, so that none are loaded.
        world: The processes of the run.
    """
    check_sync_batchnorm(recipe, device, world)
    check_cuda_graph(recipe, device, world)
    data = prepare_data(recipe, world)
    warn_of_odd_settings(recipe, data.plan, device)
    with explaining_memory(lambda: shortage("before the first step", recipe, data.plan)):
        batch = try_first_batch(data.source, "train", data.transform, data.plan, seed=recipe.train.seed)
        built = prepare_model(recipe, data, batch, device, resumed=resumed, world=world)
        average = WeightAverage(built.model, recipe.train.ema_decay) if recipe.train.ema_decay is not None else None
        predictor = build_predictor(built.model, built.normalise, recipe, device)
        if predictor.cut is not None:
            check_cut(predictor.cut, predictor.prepare(batch.images[:1]))
        parts = Parts(
            recipe=recipe,
            device=device,
            data=data,
            built=built,
            loss=loss_of(recipe, data.source, data.report).to(device),
            optimizer=build_optimizer(
                built.model,
                recipe.optimizer,
                encoder_scale=recipe.transfer.encoder_lr_scale,
                layer_decay=recipe.transfer.layer_decay,
                fused=device.type == "cuda",
            ),
            scaler=torch.amp.GradScaler(device.type, enabled=recipe.train.precision == "fp16"),
            average=average,
            predictor=predictor,
            scorer=predictor if average is None else build_predictor(average.model, built.normalise, recipe, device),
            workers=choose_workers(recipe.train.workers, gpu=device.type != "cpu", processes=world.local_size),
        )
    return parts, data.report


def prepare_model(
    recipe: Recipe, data: PreparedData, batch: Batch, device: torch.device, *, resumed: RunRecord | None, world: World
) -> PreparedModel:
    """Build the model, load its weights, check it against the first batch, and move it to its device.

    Args:
        recipe: The resolved recipe.
        data: The data that it will train on.
        batch: The first training batch.
        device: Where it is trained.
        resumed: The record of a run whose checkpoint will replace the weights, so that none are loaded.
        world: The processes of the run.

    Raises:
        UsageFault: If a layer cannot train on the images that a process has of a batch.
        DataError: If the batch holds labels outside the classes.
    """
    spec = get_spec(recipe.model.name)
    params = validate_params(spec, recipe.model.params)
    spec = spec.refined(params)
    synchronised = recipe.train.sync_batchnorm and world.size > 1
    with world.in_turn():
        model, pretrained = _build_model(recipe, spec, params, data.source, resumed)
    if min(map(len, data.plan.shares(0))) == 1 and not synchronised:
        size = recipe.data.image_size or (spec.input.min_size, spec.input.min_size)
        check_batch_norm(model, in_channels=recipe.model.in_channels, size=size, processes=world.size)
    if synchronised:
        model = synchronise(model)
    warn_of_random_features(recipe)
    normalise = Normalise(*channel_statistics(spec.input, recipe.model.in_channels))
    names = [entry.name for entry in data.source.classes]
    first = check_first_batch(batch, normalise, spec.input, names=names, ignore_index=data.source.ignore_index)
    configure(recipe, device)
    layout = torch.channels_last if recipe.train.channels_last else torch.contiguous_format
    model = model.to(device, memory_format=layout)  # type: ignore[call-overload]
    return PreparedModel(spec, model, normalise.to(device), pretrained, first)


def _build_model(
    recipe: Recipe, spec: ModelSpec, params: BaseModel, source: Source, resumed: RunRecord | None
) -> tuple[nn.Module, str | None]:
    """Return the model, and where its weights come from or came from; None where they are random."""
    torch.manual_seed(derive_seed(recipe.train.seed, "init"))
    model = build_from_spec(spec, params, num_classes=len(source.classes), in_channels=recipe.model.in_channels)
    if recipe.model.weights is None:
        return model, None
    if resumed is not None:
        return model, resumed.weights
    identity = Identity(recipe.model.name, spec, params, recipe.model.in_channels)
    names = [entry.name for entry in source.classes]
    cut = build_cut(model, recipe.transfer)
    before = copy.deepcopy(model.state_dict()) if cut is not None else {}
    loaded = load_pretrained(model, identity, recipe.model.weights, classes=names)
    # A head that starts at random although the file has one is worth a word to whoever listens to nothing else.
    logger.log(logging.WARNING if loaded.head else logging.INFO, "%s", loaded.summary())
    if cut is not None:
        renew(model, cut, before)
        warn_of_random_parts(cut, loaded.reinitialised)
    return model, loaded.source


def synchronise(model: nn.Module) -> nn.Module:
    """Return the model with batch norms that see the batch of all processes; names of tensors stay."""
    # Not torch's function, which would drop the activations inside timm's batch norms.
    from timm.layers.norm_act import convert_sync_batchnorm

    synchronised: nn.Module = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return synchronised


def build_predictor(model: nn.Module, normalise: nn.Module, recipe: Recipe, device: torch.device) -> Network:
    """Return what runs a model on its device as the recipe says: precision, layout, compilation, cut, windows."""
    compilation = None
    if recipe.train.compile:
        windows = recipe.eval.window is not None
        compilation = Compilation(
            train_sizes_vary=not has_one_size(recipe),
            eval_sizes_vary=recipe.data.image_size is None and not windows,
        )
    return Network(
        model,
        normalise,
        device=device,
        dtype=AUTOCAST[recipe.train.precision],
        channels_last=recipe.train.channels_last,
        cut=build_cut(model, recipe.transfer),
        windows=_windows(recipe),
        compilation=compilation,
    )


def _windows(recipe: Recipe) -> Windows | None:
    size = recipe.eval.window
    return None if size is None else Windows(size, recipe.eval.batch_size or recipe.train.batch_size)


def configure(recipe: Recipe, device: torch.device) -> None:
    """Choose the kernels of this process as the recipe says."""
    torch.use_deterministic_algorithms(recipe.train.deterministic, warn_only=True)
    # Always set: an earlier run of this process may have chosen another.
    torch.set_float32_matmul_precision(recipe.train.float32_matmul_precision)
    if device.type == "cuda":
        # With sizes that do not change, trying the kernels out once pays; the choice may differ from run to run.
        torch.backends.cudnn.benchmark = not recipe.train.deterministic and recipe.data.image_size is not None


def loss_of(recipe: Recipe, source: Source, report: ScanReport) -> WeightedSum:
    """Return the recipe's loss; class weights that it asks for by name come from the scan of the training split."""
    weights: list[Sequence[float] | None] = []
    for term in recipe.loss:
        match term.class_weights if isinstance(term, CrossEntropy) else None:
            case "median_frequency":
                weights.append(median_frequency_weights(report.class_pixels["train"], report.class_presence["train"]))
            case "enet":
                weights.append(enet_weights(report.class_pixels["train"]))
            case given:
                weights.append(given)
    return build_loss(recipe.loss, ignore_index=source.ignore_index, class_weights=weights)


def check_sync_batchnorm(recipe: Recipe, device: torch.device, world: World) -> None:
    """Refuse synchronised batch norms where there are none, and say where they are ordinary ones.

    Raises:
        RecipeError: If several processes train on a device other than GPUs.
    """
    if not recipe.train.sync_batchnorm:
        return
    if world.size == 1:
        logger.info("train.sync_batchnorm: with one process a batch norm sees the whole batch as it is")
    elif device.type != "cuda":
        raise RecipeError(
            f"train.sync_batchnorm true: SyncBatchNorm needs GPUs, but {world.size} processes train on {device.type}; "
            "set it to false, or train in one process"
        )


def check_cuda_graph(recipe: Recipe, device: torch.device, world: World) -> None:
    """Refuse a CUDA graph where there is none.

    Raises:
        RecipeError: If a device other than a GPU trains, or several processes do.
    """
    if not recipe.train.cuda_graph:
        return
    if device.type != "cuda":
        raise RecipeError(
            f"train.cuda_graph true needs a CUDA device, but the run trains on {device.type}; set it to false"
        )
    if world.size > 1:
        raise RecipeError(
            f"train.cuda_graph true records the step of one process, but {world.size} processes train; set it to "
            "false, or train in one process"
        )
