"""All that ``model.json`` says of a trained model; ``segzoo.pretrained`` reads only what loading weights needs.

This module needs no torch, but for fetching.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError, model_validator

from segzoo.errors import UsageFault
from segzoo.messages import explain
from segzoo.pretrained import DESCRIPTION, HUB, TENSORS, Description, hub_source
from segzoo.recipe.data import ClassEntry
from segzoo.spec import Frozen, Sha256

EXPORTED = (".onnx", ".pt2")
"""How the names of exported files end."""

Byte = Annotated[int, Field(ge=0, le=255)]
Color = tuple[Byte, Byte, Byte]
Side = Annotated[int, Field(ge=1)]
Deviation = Annotated[float, Field(gt=0)]


class Provenance(Frozen):
    """Where weights come from; whatever else was written beside their checksum is kept."""

    model_config = ConfigDict(extra="allow")

    weights_sha256: Sha256


class ModelDescription(Frozen):
    """All that is needed to use the weights beside it.

    Args:
        schema_version: Version of the file.
        id: The model's full id.
        revision: The revision of the model's spec that the weights fit.
        params: The model's own parameters.
        num_classes: Channels of the logits.
        in_channels: Channels of the images.
        classes: Names and colours by label.
        palette: Colours by label.
        ignore_index: The label that was neither trained nor scored.
        mean: Subtracted per channel from values in [0, 1].
        std: Divides what remains, per channel.
        image_size: Height and width that the network sees; None is each image's own.
        metrics: The scores, with their passport.
        provenance: Versions, data and the checksum of the weights.
    """

    # A later version may say more.
    model_config = ConfigDict(extra="ignore")

    schema_version: int
    id: str
    revision: int
    params: dict[str, Any]
    num_classes: int = Field(ge=1)
    in_channels: int = Field(ge=1)
    classes: tuple[ClassEntry, ...]
    palette: tuple[Color, ...]
    ignore_index: int
    mean: tuple[float, ...]
    std: tuple[Deviation, ...]
    image_size: tuple[Side, Side] | None
    metrics: dict[str, Any]
    provenance: Provenance

    @property
    def title(self) -> str:
        """What scores are headed with."""
        return self.id

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names by label."""
        return tuple(entry.name for entry in self.classes)

    @property
    def window(self) -> tuple[int, int] | None:
        """Height and width of the windows in which the model was scored, None if it saw images whole."""
        window = self.metrics.get("passport", {}).get("window")
        return None if window is None else (int(window[0]), int(window[1]))

    @property
    def fixed_size(self) -> tuple[int | None, int | None]:
        """Height and width that images have to have, None where any will do."""
        return None, None

    @model_validator(mode="after")
    def _one_of_each(self) -> ModelDescription:
        for key, count, wanted in (
            ("classes", len(self.classes), self.num_classes),
            ("palette", len(self.palette), self.num_classes),
            ("mean", len(self.mean), self.in_channels),
            ("std", len(self.std), self.in_channels),
        ):
            if count != wanted:
                raise ValueError(f"{key} has {count} entries where there are {wanted} of them")
        return self


def is_exported(source: str | Path) -> bool:
    """Tell whether the name is that of an exported file."""
    path = Path(source)
    return path.suffix.lower() in EXPORTED and not str(source).startswith(HUB) and not path.is_dir()


def find_model(source: str | Path) -> Path:
    """Return the folder that holds ``model.json`` and ``model.safetensors``.

    Args:
        source: A run directory, its ``model`` folder, any folder with these two files, or ``hf-hub:owner/name``,
            perhaps with ``@revision``, which is fetched.

    Raises:
        UsageFault: If there is no such folder, or one of the files is missing.
        DownloadError: If a repository cannot be fetched, or holds no model of segzoo.
    """
    if str(source).startswith(HUB):
        from segzoo.weights.hub import fetch_model  # torch starts here

        wanted = hub_source(str(source))
        return fetch_model(wanted.repository, wanted.revision)
    path = Path(source).expanduser()
    if path.name in (DESCRIPTION, TENSORS) and path.is_file():
        path = path.parent
    if not path.is_dir():
        reason = "is not a folder" if path.exists() else "does not exist"
        raise UsageFault(
            f"{path} {reason}; give a run directory, a folder with {DESCRIPTION} and {TENSORS}, an exported file "
            f"({', '.join(EXPORTED)}), or {HUB}owner/name"
        )
    is_run = (path / "run.json").is_file()
    folder = path / "model" if is_run or (path / "model").is_dir() else path
    missing = [folder / name for name in (DESCRIPTION, TENSORS) if not (folder / name).is_file()]
    if missing:
        kind = "the run has no weights yet" if is_run and len(missing) == 2 else "it is no trained model"
        raise UsageFault(f"{path}: {kind}: {missing[0]} is missing")
    return folder


def run_of(folder: Path) -> Path | None:
    """Return the run directory that a model folder is in; None where it is in none."""
    folder = folder if folder.name else folder.resolve()  # such as "." in it
    run = folder.parent
    return run if folder.name == "model" and (run / "run.json").is_file() else None


def read_model_description(folder: Path, known: Description) -> ModelDescription:
    """Return all that a folder's ``model.json`` says.

    Args:
        folder: The folder.
        known: What :func:`segzoo.pretrained.read_description` found there, so that the file is known to be small and
            to describe a model.

    Raises:
        UsageFault: If something that is needed to use the model is missing or wrong.
    """
    path = folder / DESCRIPTION
    try:
        return ModelDescription.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UsageFault(f"{path} describes {known.id} badly: {explain(error, ModelDescription, None)}") from None
