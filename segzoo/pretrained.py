"""What ``weights`` may name, found and checked without torch: a tag, a file, a run, a repository of the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from segzoo.errors import ParamsError, UsageFault, did_you_mean
from segzoo.messages import explain, show
from segzoo.params import validate_params
from segzoo.spec import ModelSpec, Sha256, Weights

TENSORS, DESCRIPTION = "model.safetensors", "model.json"
SUFFIXES = (".safetensors", ".pth", ".pt")
HUB = "hf-hub:"

MAX_DESCRIPTION_BYTES = 1 << 20

_REPOSITORY = re.compile(r"(?=[^/]{1,96}/[^/]{1,96}$)\w(?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)
_REVISION = re.compile(r"\w(?:[\w./-]*\w)?", re.ASCII)

# What ends a checkpoint of a run: see runs/checkpoint.py, which needs torch.
_CHECKPOINT_MARK = b"\nsegzoo-sha256:"
_CHECKPOINT_TRAILER_BYTES = len(_CHECKPOINT_MARK) + 64


class _Described(BaseModel):
    """A part of ``model.json``, which also holds what loading weights does not need."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class _Class(_Described):
    name: str


class _Provenance(_Described):
    weights_sha256: Sha256


class Description(_Described):
    """What ``model.json`` says of the tensors beside it."""

    schema_version: Literal[1]
    id: str
    revision: int
    params: dict[str, Any]
    num_classes: int
    in_channels: int
    classes: Annotated[tuple[_Class, ...], Field(min_length=1)]
    provenance: _Provenance

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names by label."""
        return tuple(entry.name for entry in self.classes)

    @model_validator(mode="after")
    def _consistent(self) -> Description:
        if len(set(self.class_names)) != self.num_classes or len(self.classes) != self.num_classes:
            raise ValueError(f"num_classes is {self.num_classes}, but classes has {len(set(self.class_names))} names")
        return self


@dataclass(frozen=True)
class Identity:
    """The model that weights are wanted for.

    Args:
        id: Its full id.
        spec: Its spec, refined by the parameters.
        params: Its checked parameters.
        in_channels: Channels of its images.
    """

    id: str
    spec: ModelSpec
    params: BaseModel
    in_channels: int


@dataclass(frozen=True)
class TagSource:
    """Weights that the spec lists."""

    tag: str
    weights: Weights


@dataclass(frozen=True)
class FileSource:
    """A file of tensors named as the model names them."""

    path: Path


@dataclass(frozen=True)
class RunSource:
    """The ``model`` folder of a run, whose description fits."""

    folder: Path
    description: Description


@dataclass(frozen=True)
class HubSource:
    """A repository of the hub that holds ``model.safetensors`` and perhaps ``model.json``; a revision may be pinned."""

    repository: str
    revision: str | None


Source = TagSource | FileSource | RunSource | HubSource


def find_source(wanted: Identity, weights: str) -> Source:
    """Return what ``weights`` names, after all checks that need neither torch nor a network.

    Args:
        wanted: The model that the weights are for.
        weights: A tag of the spec; a ``.safetensors``, ``.pth`` or ``.pt`` file; a run directory or its ``model``
            folder; or ``hf-hub:owner/name``, perhaps with ``@revision``.

    Raises:
        UsageFault: If there is no such tag, file or folder, it holds no weights, or those of another model.
    """
    tags = wanted.spec.weights
    if weights in tags:
        return TagSource(weights, tags[weights])
    if weights.startswith(HUB):
        return hub_source(weights)
    path = Path(weights).expanduser()
    try:
        if not any(mark in weights for mark in "/.:~") and not _holds_run(path):
            raise _no_source(wanted, weights, path)
        return _run_source(wanted, path) if path.is_dir() else _file_source(path)
    except OSError as error:
        raise UsageFault(f"weights {weights!r} cannot be read: {error.strerror}") from error


def read_description(path: Path) -> Description:
    """Return what a ``model.json`` says.

    Raises:
        UsageFault: If it is not such a file.
    """
    with path.open("rb") as file:
        content = file.read(MAX_DESCRIPTION_BYTES + 1)
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise UsageFault(f"{path} is larger than {MAX_DESCRIPTION_BYTES // 1024} KiB, which no description is")
    try:
        return Description.model_validate_json(content)
    except ValidationError as error:
        raise UsageFault(f"{path} describes no model: {explain(error, Description, None)}") from None


def check_description(wanted: Identity, description: Description, where: str) -> None:
    """Refuse weights that were trained as another model; another number of classes is no other model.

    Args:
        wanted: The model that the weights are for.
        description: What is said of the weights.
        where: What messages call them.

    Raises:
        UsageFault: If id, revision, parameters or image channels do not fit; it says which model it is.
    """
    distribution = wanted.id.partition("/")[0]
    names = {wanted.id, *(f"{distribution}/{alias}" for alias in wanted.spec.aliases)}
    if description.id not in names:
        raise _misfit(f"{where} holds {description.id}, not {wanted.id}")
    if description.revision != wanted.spec.revision:
        raise _misfit(
            f"{where} holds revision {description.revision} of {wanted.id}, but this is revision {wanted.spec.revision}"
        )
    # A first convolution for RGB can be adapted to any number of channels, no other can.
    if description.in_channels not in (3, wanted.in_channels):
        raise _misfit(
            f"{where} holds {wanted.id} for images of {description.in_channels} channels, not {wanted.in_channels}"
        )
    _check_params(wanted, description, where)


def _check_params(wanted: Identity, description: Description, where: str) -> None:
    try:
        filled = validate_params(wanted.spec, description.params)
    except ParamsError as error:
        raise _misfit(f"{where} holds {wanted.id} with parameters that it does not take: {error}") from None
    theirs, ours = filled.model_dump(mode="json"), wanted.params.model_dump(mode="json")
    differences = [f"{key} {show(theirs[key])}, not {show(ours[key])}" for key in ours if theirs[key] != ours[key]]
    if differences:
        raise _misfit(f"{where} holds {wanted.id} with {', '.join(differences)}")


def _misfit(reason: str) -> UsageFault:
    return UsageFault(f"{reason}. Given by itself, the file {TENSORS} is judged by its tensors alone")


def _no_source(wanted: Identity, weights: str, path: Path) -> UsageFault:
    tags = sorted(wanted.spec.weights)
    known = f"its tags are {', '.join(tags)}" if tags else "it has none"
    folder = f" The folder {weights!r} is no run of segzoo: {_model_folder(path) / DESCRIPTION} is missing."
    return UsageFault(
        f"no weight tag of {wanted.spec.name} named {weights!r}; {known}.{did_you_mean(weights, tags)}"
        f"{folder if path.is_dir() else ''} Beside tags there are {', '.join(SUFFIXES)} files, run directories and "
        f"{HUB}owner/name"
    )


def hub_source(weights: str) -> HubSource:
    """Return the repository that ``hf-hub:owner/name`` names, perhaps with ``@revision``.

    Raises:
        UsageFault: If it cannot be the name of one.
    """
    repository, at, revision = weights.removeprefix(HUB).partition("@")
    if not _REPOSITORY.fullmatch(repository) or "--" in repository or ".." in repository:
        raise UsageFault(f"weights {weights!r}: a repository of the hub is written {HUB}owner/name")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise UsageFault(f"weights {weights!r}: a revision is a commit, tag or branch, as in {HUB}owner/name@main")
    return HubSource(repository, revision or None)


def _run_source(wanted: Identity, path: Path) -> RunSource:
    folder = _model_folder(path)
    for name in (DESCRIPTION, TENSORS):
        if not (folder / name).is_file():
            if (path / "run.json").is_file():
                raise UsageFault(f"the run {path} has no weights yet: {folder / name} is missing")
            raise UsageFault(f"{path} is a folder, but no run of segzoo: {folder / name} is missing")
    description = read_description(folder / DESCRIPTION)
    check_description(wanted, description, str(path))
    return RunSource(folder, description)


def _holds_run(path: Path) -> bool:
    return path != Path() and (_model_folder(path) / DESCRIPTION).is_file()


def _model_folder(path: Path) -> Path:
    return path / "model" if (path / "model").is_dir() else path


def _file_source(path: Path) -> FileSource:
    if not path.exists():
        raise UsageFault(f"no file or run directory is named {str(path)!r}.{_suggestion(path)}")
    if not path.is_file():
        raise UsageFault(f"{path} is neither a file nor a folder")
    if path.suffix not in SUFFIXES:
        raise UsageFault(f"{path} has the suffix {path.suffix!r}; weights are {', '.join(SUFFIXES)} files")
    if _is_checkpoint(path):
        raise UsageFault(f"{path} is a checkpoint, from which a run is resumed; as weights give its run directory")
    return FileSource(path)


def _suggestion(path: Path) -> str:
    if ":" in str(path):
        return f" A repository of the hub is written {HUB}owner/name"
    beside = [found.name for found in path.parent.iterdir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, beside, before=str(path).removesuffix(path.name))


def _is_checkpoint(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(_CHECKPOINT_TRAILER_BYTES, path.stat().st_size), 2)
        return file.read().startswith(_CHECKPOINT_MARK)
