"""What is known of a model before it is built: frozen data that needs no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    field_serializer,
    field_validator,
    model_validator,
)

API_VERSION = 1
"""The version of :class:`ModelSpec` that this segzoo understands."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
Target = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Frozen(BaseModel):
    """Immutable, strictly typed data that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Params(Frozen):
    """Base of a model's own parameters: a typo or a wrong type never passes."""

    def refine(self, spec: ModelSpec) -> ModelSpec:
        """Return what is known of the model that these parameters make of ``spec``.

        A class whose values decide on weights or on the input, such as the name of an encoder, overrides this.
        """
        return spec


class InputSpec(Frozen):
    """What a model expects of an image.

    Args:
        mean: Subtracted per channel from RGB in [0, 1].
        std: Divides what remains, per channel.
        min_size: Smallest height and width in pixels that the model takes.
        margin: Pixels along each border that get no logits; 0 but for networks without padding.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    min_size: int = Field(default=32, ge=1)
    margin: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _same_length(self) -> InputSpec:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels, std has {len(self.std)}")
        if min(self.std, default=1.0) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        return self


class Weights(Frozen):
    """Where the tensors of one weight tag come from: a URL, or a repository of the Hugging Face hub.

    Args:
        url: Address of the file; needs ``sha256``.
        hub: ``owner/name`` on the hub; needs ``revision`` or ``sha256``.
        revision: Commit on the hub, so that the file cannot change.
        filename: The file in the hub's repository.
        sha256: Checksum of the file.
        license: SPDX identifier of the weights' license.
        part: The part of the model that the file holds.
        layout: How the file names its tensors: as the model does (``"own"``), as torchvision's VGG does (``"vgg"``), or
            as timm does (``"timm"``).
        classes: Names of the classes of the head, where the file holds one.
    """

    url: str | None = None
    hub: str | None = None
    revision: str | None = None
    filename: str = "model.safetensors"
    sha256: Sha256 | None = None
    license: str
    part: Literal["encoder", "model"] = "model"
    layout: Literal["own", "vgg", "timm"] = "own"
    classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_pinned_source(self) -> Weights:
        if (self.url is None) == (self.hub is None):
            raise ValueError("weights need exactly one of url and hub")
        if self.url is not None and self.sha256 is None:
            raise ValueError("weights from a url need sha256")
        if self.hub is not None and self.revision is None and self.sha256 is None:
            raise ValueError("weights from the hub need revision or sha256")
        return self


class ModelSpec(Frozen):
    """Everything segzoo knows of a model without importing torch.

    Args:
        name: Lower-case letters, digits and underscores. The distribution that offers the spec becomes the first
            half of the model's id; it is read from metadata, never declared.
        summary: One line for lists.
        family: ``"scratch"`` or ``"smp"`` for the built-ins; a plugin may use its own.
        builder: ``"module:function"``, called as ``function(params, *, in_channels, num_classes)``.
        params: Model class of the parameters; it must forbid unknown keys.
        license: SPDX identifier of the code's license.
        fixed: Parameters that this model decides, for several models that share one class of them; a user may repeat
            the value, not change it.
        weights: Pretrained weights by tag.
        default_weights: The tag used where a recipe names none.
        input: What the model expects of an image.
        aux: Names of auxiliary outputs; in training mode the model then returns a dict of ``"logits"`` and these.
        aliases: Other names, such as former ones.
        fixed_export_dims: Dimensions that an export cannot leave open, with the reason for each.
        expected_failures: Checks of the contract kit that cannot pass, with the reason for each.
        revision: Raised when the state dict or the output changes.
        papers: Sources, such as ``"arXiv:1511.00561"``.
        tags: Words to filter by.
        requires: Requirement strings of further packages.
        deprecated: Why the model should no longer be used, and what to use instead.
        api_version: The version of this class that the author wrote against.
    """

    name: Name
    summary: str = Field(min_length=1)
    family: Name
    builder: Target
    params: type[BaseModel]
    license: str = Field(min_length=1)
    fixed: dict[str, JsonValue] = {}
    weights: dict[str, Weights] = {}
    default_weights: str | None = None
    input: InputSpec = InputSpec()
    aux: tuple[str, ...] = ()
    aliases: tuple[Name, ...] = ()
    fixed_export_dims: dict[str, str] = {}
    expected_failures: dict[str, str] = {}
    revision: int = Field(default=1, ge=1)
    papers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    deprecated: str | None = None
    api_version: int = API_VERSION

    @field_validator("api_version")
    @classmethod
    def _known_version(cls, value: int) -> int:
        if not 1 <= value <= API_VERSION:
            raise ValueError(f"api_version {value} is not known to this segzoo, which knows 1 to {API_VERSION}")
        return value

    @field_validator("params")
    @classmethod
    def _strict_params(cls, value: type[BaseModel]) -> type[BaseModel]:
        if value.model_config.get("extra") != "forbid":
            raise ValueError(f"params class {value.__name__} must set extra='forbid', so that typos do not pass")
        return value

    @model_validator(mode="after")
    def _fixed_exist(self) -> ModelSpec:
        unknown = sorted(self.fixed.keys() - self.params.model_fields.keys())
        if unknown:
            raise ValueError(f"fixed names {unknown[0]!r}, which {self.params.__name__} does not have")
        return self

    @model_validator(mode="after")
    def _default_exists(self) -> ModelSpec:
        if self.default_weights is not None and self.default_weights not in self.weights:
            raise ValueError(f"default_weights {self.default_weights!r} is not one of {sorted(self.weights)}")
        return self

    @field_serializer("params")
    def _params_by_name(self, value: type[BaseModel]) -> str:
        return f"{value.__module__}:{value.__qualname__}"

    def refined(self, params: BaseModel) -> ModelSpec:
        """Return the spec of the model that ``params`` make: its weights and its input, see :meth:`Params.refine`."""
        return params.refine(self) if isinstance(params, Params) else self
