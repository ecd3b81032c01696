"""The ``data`` section of a recipe: one class per format, so that a key of another format never passes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from segzoo.spec import Frozen

Size = tuple[Annotated[int, Field(ge=1, le=20_000)], Annotated[int, Field(ge=1, le=20_000)]]
Byte = Annotated[int, Field(ge=0, le=255)]
SplitFraction = Annotated[float, Field(gt=0, le=1)]
Splits = dict[str, SplitFraction] | dict[str, str]

SPLITS = "Split name to a fraction of all images, drawn by train.seed, or to an official split."

MAX_CLASSES = 255
"""Masks are bytes and one value is the ignored one."""


class ClassEntry(Frozen):
    """One class: the name in tables, the colour in pictures."""

    name: str = Field(min_length=1)
    color: tuple[Byte, Byte, Byte] | None = None


class _Data(Frozen):
    """What all formats share."""

    image_size: Size | None = Field(
        default=None, description="Height and width that the network sees; null keeps each image's own size."
    )
    ignore_index: Byte = Field(default=255, description="Label that is neither trained nor scored.")

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that the data offers, ``train`` among them."""
        raise NotImplementedError


class _Folder(_Data):
    """What all formats on disk share."""

    root: str = Field(min_length=1, description="Folder of the data, relative to the current directory.")
    classes: tuple[ClassEntry, ...] | None = Field(default=None, min_length=2, max_length=MAX_CLASSES)
    ignore_labels: tuple[Byte, ...] = Field(default=(), description="Labels in the masks that become ignore_index.")
    splits: Splits = Field(
        default={"train": "train", "val": "val"},
        description=SPLITS,
    )

    @property
    def split_names(self) -> tuple[str, ...]:
        """The keys of ``splits``."""
        return tuple(self.splits)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        fractions = [share for share in self.splits.values() if isinstance(share, float)]
        if sum(fractions) > 1 + 1e-9:
            raise ValueError(f"the fractions of splits sum to {sum(fractions):g}, more than 1")
        if self.classes is not None:
            names = [entry.name for entry in self.classes]
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"classes repeat the name {repeated[0]!r}")
            if self.ignore_index < len(names):
                raise ValueError(f"ignore_index {self.ignore_index} is also the class {names[self.ignore_index]!r}")
        return self


class ShapesData(_Data):
    """Procedural scenes of textured shapes: no files, drawn from the seed."""

    format: Literal["shapes"] = "shapes"
    size: Size = Field(default=(96, 96), description="Height and width of a scene.")
    num_classes: int = Field(default=5, ge=2, le=8, description="Background included.")
    counts: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default={"train": 512, "val": 64}, description="Scenes in each split."
    )

    @property
    def split_names(self) -> tuple[str, ...]:
        """The keys of ``counts``."""
        return tuple(self.counts)


class FolderData(_Folder):
    """Images and masks in two folders, paired by file name."""

    format: Literal["folder"] = "folder"
    root: str = Field(default=".", min_length=1, description="Folder that images, masks and splits lie in.")
    classes: tuple[ClassEntry, ...] = Field(min_length=2, max_length=MAX_CLASSES)
    images: str | None = Field(default=None, description="Folder of images; absent is <root>/<split>/images.")
    masks: str | None = Field(default=None, description="Folder of masks; absent is <root>/<split>/masks.")
    mask_mode: Literal["index", "palette", "rgb", "binary"] = "index"

    @model_validator(mode="after")
    def _folders_and_mode(self) -> Self:
        if (self.images is None) != (self.masks is None):
            raise ValueError("images and masks are given together or not at all")
        if self.images is not None and any(isinstance(share, str) for share in self.splits.values()):
            raise ValueError("with images and masks there are no official splits: give splits as fractions")
        if self.mask_mode == "rgb" and any(entry.color is None for entry in self.classes):
            raise ValueError("mask_mode 'rgb' needs a color for every class")
        if self.mask_mode == "binary" and len(self.classes) != 2:
            raise ValueError(f"mask_mode 'binary' needs two classes, got {len(self.classes)}")
        return self


class CamvidData(_Folder):
    """CamVid, 11 classes: ``<root>/<split>/{images,masks}`` with indices and void 11, or with its own 32 colours."""

    format: Literal["camvid"] = "camvid"
    root: str = "data/camvid"


class Fetched(_Folder):
    """What can be fetched."""

    download: bool = Field(default=False, description="Fetch the data into root where it is missing.")


class VocData(Fetched):
    """PASCAL VOC segmentation."""

    format: Literal["voc"] = "voc"
    root: str = "data/voc"
    year: Literal["2007", "2012"] = "2012"


class OxfordPetsData(Fetched):
    """Oxford-IIIT Pets, trimaps as three classes."""

    format: Literal["oxford_pets"] = "oxford_pets"
    root: str = "data/oxford_pets"
    splits: Splits = Field(default={"train": "trainval", "val": "test"}, description=SPLITS)


class CityscapesData(_Folder):
    """Cityscapes, the 19 classes that its benchmark scores."""

    format: Literal["cityscapes"] = "cityscapes"
    root: str = "data/cityscapes"


class Ade20kData(_Folder):
    """ADE20K, 150 classes."""

    format: Literal["ade20k"] = "ade20k"
    root: str = "data/ade20k"
    splits: Splits = Field(default={"train": "training", "val": "validation"}, description=SPLITS)


DataSection = Annotated[
    ShapesData | FolderData | CamvidData | VocData | OxfordPetsData | CityscapesData | Ade20kData,
    Field(discriminator="format"),
]
