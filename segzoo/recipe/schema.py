"""The recipe: every key, its type and its default. Nothing is accepted and ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from segzoo.recipe.data import DataSection
from segzoo.spec import Frozen

RunName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


OVERLAP = 0.25
"""Share of a window that the next one covers too, at least, where nothing else is asked for."""


class ModelSection(Frozen):
    """Which model, with which parameters, starting from which weights."""

    name: str = Field(description="Model id or bare name, as `segzoo list` shows it.")
    params: dict[str, Any] = Field(default={}, description="The model's own parameters, as `segzoo show` lists them.")
    weights: str | None = Field(
        default=None,
        description="A weight tag of the model, a .safetensors, .pth or .pt file, a run directory, or "
        "hf-hub:owner/name[@revision]; null is random. Where the key is absent, the model's default is used.",
    )
    in_channels: int = Field(default=3, ge=1)


class AugmentEntry(Frozen):
    """One albumentations transform: its name, its arguments beside it, and its probability."""

    model_config = ConfigDict(extra="allow")

    name: str
    p: Fraction | None = Field(default=None, description="Probability; absent is the transform's own default.")
    transforms: tuple[AugmentEntry, ...] | None = Field(
        default=None, description="Members of OneOf, SomeOf, Sequential."
    )


class TransferSection(Frozen):
    """What is trained, and what is kept of pretrained weights."""

    strategy: Literal["scratch", "finetune", "frozen_encoder", "feature_hook", "feature_identity"] = "finetune"
    unfreeze_encoder_at: int | None = Field(
        default=None, ge=1, description="Epoch, from 1, that unfreezes the encoder."
    )
    encoder_lr_scale: Positive = Field(default=1.0, description="Factor on the encoder's learning rate.")
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    tap: Literal["encoder", "decoder"] | None = None
    views: int | None = Field(default=None, ge=1)
    cache: Literal["none", "memory", "disk"] = "none"


class CrossEntropy(Frozen):
    """Pixel-wise cross-entropy."""

    name: Literal["cross_entropy"] = "cross_entropy"
    weight: Positive = 1.0
    class_weights: tuple[Annotated[float, Field(ge=0)], ...] | Literal["median_frequency", "enet"] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Focal(Frozen):
    """Focal loss."""

    name: Literal["focal"] = "focal"
    weight: Positive = 1.0
    gamma: Annotated[float, Field(ge=0)] = 2.0
    alpha: Positive | None = None


class DistanceFocal(Frozen):
    """Focal loss with a penalty that falls off around object borders."""

    name: Literal["distance_focal"] = "distance_focal"
    weight: Positive = 1.0
    alpha: Positive = 2.0
    beta: Positive = 4.0
    sigma: Positive = 3.0


class Dice(Frozen):
    """One minus the mean Dice coefficient of the classes present."""

    name: Literal["dice"] = "dice"
    weight: Positive = 1.0


class Jaccard(Frozen):
    """One minus the mean soft IoU."""

    name: Literal["jaccard"] = "jaccard"
    weight: Positive = 1.0


class Lovasz(Frozen):
    """Lovász-softmax."""

    name: Literal["lovasz"] = "lovasz"
    weight: Positive = 1.0


class Tversky(Frozen):
    """Tversky index with weights for false positives and false negatives."""

    name: Literal["tversky"] = "tversky"
    weight: Positive = 1.0
    alpha: Positive = 0.5
    beta: Positive = 0.5


class Ohem(Frozen):
    """Cross-entropy over the hardest pixels."""

    name: Literal["ohem"] = "ohem"
    weight: Positive = 1.0
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.7
    min_kept: int = Field(default=100_000, ge=1)


class BoundaryCrossEntropy(Frozen):
    """Cross-entropy with more weight near borders."""

    name: Literal["boundary_cross_entropy"] = "boundary_cross_entropy"
    weight: Positive = 1.0
    boost: Positive = 4.0
    width: int = Field(default=3, ge=1)


LossTerm = Annotated[
    CrossEntropy | Focal | DistanceFocal | Dice | Jaccard | Lovasz | Tversky | Ohem | BoundaryCrossEntropy,
    Field(discriminator="name"),
]


class Sgd(Frozen):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.01
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9


class Adam(Frozen):
    """Adam; its weight decay is part of the gradient."""

    name: Literal["adam"] = "adam"
    lr: Positive = 0.001
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[Beta, Beta] = (0.9, 0.999)


class AdamW(Frozen):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    lr: Positive = 0.001
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    betas: tuple[Beta, Beta] = (0.9, 0.999)


OptimizerSection = Annotated[Sgd | Adam | AdamW, Field(discriminator="name")]


class _Schedule(Frozen):
    warmup_epochs: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Epochs, or a part of one, over which the learning rate rises linearly."
    )


class Constant(_Schedule):
    """The learning rate stays."""

    name: Literal["constant"] = "constant"


class Poly(_Schedule):
    """Falls to ``min_lr`` as ``(1 - progress) ** power``."""

    name: Literal["poly"] = "poly"
    power: Positive = 0.9
    min_lr: Annotated[float, Field(ge=0)] = 0.0


class Cosine(_Schedule):
    """Falls to ``min_lr`` along half a cosine."""

    name: Literal["cosine"] = "cosine"
    min_lr: Annotated[float, Field(ge=0)] = 0.0


class Step(_Schedule):
    """Multiplied by ``gamma`` every ``step_size`` epochs."""

    name: Literal["step"] = "step"
    step_size: int = Field(ge=1, description="Epochs.")
    gamma: Fraction = 0.1


class OneCycle(_Schedule):
    """Rises to ``max_lr`` and falls again."""

    name: Literal["onecycle"] = "onecycle"
    max_lr: Positive


class Plateau(_Schedule):
    """Multiplied by ``factor`` when the metric has not improved for ``patience`` epochs."""

    name: Literal["plateau"] = "plateau"
    patience: int = Field(default=10, ge=0)
    factor: Fraction = 0.1


SchedulerSection = Annotated[Constant | Poly | Cosine | Step | OneCycle | Plateau, Field(discriminator="name")]


class EarlyStopping(Frozen):
    """Stop when the metric has not improved."""

    metric: Literal["mean_iou", "val_loss"] = "mean_iou"
    patience: int = Field(default=10, ge=1)
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class TrainSection(Frozen):
    """The loop."""

    epochs: int = Field(default=50, ge=1)
    max_steps: int | None = Field(
        default=None, ge=1, description="Optimizer steps; the first limit reached ends the run."
    )
    batch_size: int = Field(default=8, ge=1, description="Images in a batch, of all processes together.")
    accumulate: int = Field(default=1, ge=1, description="Batches per optimizer step.")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    compile: bool = Field(default=False, description="Compile normalisation, model and loss as one function.")
    cuda_graph: bool = Field(
        default=False, description="Launch each optimizer step as one CUDA graph; for small batches on one GPU."
    )
    float32_matmul_precision: Literal["highest", "high", "medium"] = Field(
        default="highest", description="Of matrix products in float32; 'high' lets GPUs round to TF32."
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    grad_clip: Positive | None = Field(default=None, description="Largest L2 norm of the whole gradient.")
    aux_weight: Positive | None = Field(
        default=None, description="Weight of auxiliary outputs, for models that have any."
    )
    workers: int | None = Field(
        default=None, ge=0, description="Processes that load data; 0 loads in the training process, null chooses."
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of each process; null shares out the cores."
    )
    seed: int = Field(default=0, ge=0, lt=2**63)
    deterministic: bool = Field(default=False, description="Ask torch for deterministic kernels on GPUs too.")
    checkpoint_every_steps: int | None = Field(default=None, ge=1, description="Beside the one after every epoch.")
    early_stopping: EarlyStopping | None = None
    sync_batchnorm: bool = Field(default=False, description="Batch norms see the batch of all processes; on GPUs.")


class EvalSection(Frozen):
    """Validation."""

    split: str = "val"
    batch_size: int | None = Field(
        default=None, ge=1, description="Images, or windows of one; absent is the training batch size."
    )
    every_epochs: int = Field(default=1, ge=1, description="The last epoch is always validated.")
    window: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        default=None,
        description="Height and width of overlapping windows in which images are scored at their own resolution; null "
        "scores them whole, in data.image_size.",
    )


class Recipe(Frozen):
    """A whole training run as data.

    Section 4 of the design names every key; ``segzoo recipe schema`` prints this class as JSON Schema.
    """

    model_config = ConfigDict(title="segzoo recipe", validate_by_name=True, validate_by_alias=True)

    schema_address: str | None = Field(default=None, alias="$schema", description="For editors; segzoo ignores it.")
    recipe_version: Literal[1]
    name: RunName = Field(description="Names the run directory.")
    description: str = ""
    model: ModelSection
    data: DataSection
    augment: tuple[AugmentEntry, ...] = ()
    transfer: TransferSection = TransferSection()
    loss: tuple[LossTerm, ...] = Field(default=(CrossEntropy(),), min_length=1)
    optimizer: OptimizerSection = AdamW()
    scheduler: SchedulerSection = Poly()
    train: TrainSection = TrainSection()
    eval: EvalSection = EvalSection()
    requires: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _no_parent_folder(cls, value: str) -> str:
        if ".." in value:
            raise ValueError("a run's name must not contain '..'")
        return value

    @model_validator(mode="after")
    def _splits_exist(self) -> Recipe:
        for split in ("train", self.eval.split):
            if split not in self.data.split_names:
                raise ValueError(f"data has no split {split!r}; it has {', '.join(self.data.split_names)}")
        return self
