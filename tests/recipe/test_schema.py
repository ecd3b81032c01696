"""The schema takes what the design lists, strictly, at every level."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from segzoo.messages import explain
from segzoo.recipe.data import DataSection
from segzoo.recipe.schema import LossTerm, OptimizerSection, Recipe, SchedulerSection
from segzoo.spec import Frozen

CLASSES = [{"name": "a", "color": [0, 0, 0]}, {"name": "b", "color": [255, 0, 0]}]

FULL: dict[str, Any] = {
    "$schema": "x.json",
    "recipe_version": 1,
    "name": "full-1.0_a",
    "description": "Every section is here.",
    "model": {"name": "unet_resnet34", "params": {"attention": "scse"}, "weights": "imagenet", "in_channels": 3},
    "data": {
        "format": "folder",
        "root": "data/x",
        "images": "images",
        "masks": "masks",
        "mask_mode": "rgb",
        "classes": CLASSES,
        "splits": {"train": 0.5, "val": 0.25, "test": 0.25},
        "image_size": [64, 96],
        "ignore_index": 255,
        "ignore_labels": [11],
    },
    "augment": [{"name": "OneOf", "p": 0.5, "transforms": [{"name": "Blur", "blur_limit": [3, 5]}]}],
    "transfer": {"strategy": "finetune", "encoder_lr_scale": 0.1},
    "loss": [{"name": "cross_entropy", "weight": 1.0, "class_weights": [1, 2.5]}, {"name": "dice"}],
    "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
    "scheduler": {"name": "step", "step_size": 3, "warmup_epochs": 0.5},
    "train": {"epochs": 3, "early_stopping": {"metric": "val_loss", "patience": 2}},
    "eval": {"split": "test", "window": [64, 64]},
    "requires": ["numpy>=1"],
}


def put(path: str, value: Any, base: dict[str, Any] = FULL) -> dict[str, Any]:
    """Return a copy of a recipe with one value changed or added."""
    data = json.loads(json.dumps(base))
    *parents, last = path.split(".")
    inner: Any = data
    for key in parents:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    inner[int(last) if isinstance(inner, list) else last] = value
    return data


def with_data(**section: Any) -> dict[str, Any]:
    """Return a recipe with another data section."""
    return put("eval", {}) | {"data": section}


def validate(data: Any) -> Recipe:
    """Return the recipe of JSON data."""
    return Recipe.model_validate_json(json.dumps(data))


def refusal(data: Any) -> str:
    """Return what is said of an invalid recipe."""
    with pytest.raises(ValidationError) as caught:
        validate(data)
    return explain(caught.value, Recipe, data)


def test_full_recipe_is_read() -> None:
    """Values arrive as what they are; lists become tuples that nobody changes."""
    recipe = validate(FULL)
    assert recipe.data.image_size == (64, 96)
    assert recipe.data.split_names == ("train", "val", "test")
    assert recipe.loss[0].model_dump()["class_weights"] == (1.0, 2.5)
    assert recipe.augment[0].transforms is not None
    assert recipe.augment[0].transforms[0].model_extra == {"blur_limit": [3, 5]}
    assert recipe.schema_address == "x.json"


@pytest.mark.parametrize(
    "section",
    [
        "",
        "model",
        "data",
        "data.classes.0",
        "transfer",
        "loss.0",
        "loss.1",
        "optimizer",
        "scheduler",
        "train",
        "train.early_stopping",
        "eval",
    ],
)
def test_unknown_keys_are_refused_at_every_level(section: str) -> None:
    """A typo never passes, however deep it is."""
    path = f"{section}.tpyo" if section else "tpyo"
    assert refusal(put(path, 1)).startswith(f"{path} = 1: unknown key.")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("recipe_version", "1"),
        ("name", 3),
        ("description", None),
        ("model.name", None),
        ("model.params", []),
        ("model.in_channels", "3"),
        ("model.in_channels", True),
        ("data.root", 3),
        ("data.image_size", 64),
        ("data.image_size.0", 64.5),
        ("data.ignore_index", "255"),
        ("data.ignore_labels", 11),
        ("data.classes.0.color.0", 0.5),
        ("data.classes.0.name", 1),
        ("augment", {}),
        ("augment.0.p", "0.5"),
        ("augment.0.name", 1),
        ("augment.0.transforms", {}),
        ("transfer.encoder_lr_scale", "0.1"),
        ("loss", {}),
        ("loss.0.weight", "1"),
        ("optimizer.lr", "0.01"),
        ("optimizer.lr", True),
        ("scheduler.step_size", 3.5),
        ("train.epochs", "3"),
        ("train.epochs", 3.5),
        ("train.epochs", True),
        ("train.channels_last", 1),
        ("train.channels_last", "true"),
        ("train.seed", None),
        ("eval.split", 1),
        ("requires", "numpy"),
        ("requires.0", 1),
    ],
)
def test_types_are_strict(path: str, value: Any) -> None:
    """Nothing is converted, except that a whole number serves as a real one."""
    assert refusal(put(path, value)).startswith(f"{path} = {json.dumps(value)}: ")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("recipe_version", 2),
        ("model.in_channels", 0),
        ("data.image_size.1", 0),
        ("data.image_size.1", 20_001),
        ("data.ignore_index", 256),
        ("data.ignore_index", -1),
        ("data.ignore_labels.0", 256),
        ("data.classes.1.color.2", 256),
        ("data.classes.1.name", ""),
        ("data.root", ""),
        ("data.splits.train", 0.0),
        ("data.splits.train", 1.5),
        ("data.mask_mode", "gray"),
        ("augment.0.p", 1.5),
        ("transfer.strategy", "finetun"),
        ("transfer.unfreeze_encoder_at", 0),
        ("transfer.encoder_lr_scale", 0),
        ("transfer.layer_decay", 1.5),
        ("loss.0.weight", 0),
        ("loss.0.class_weights.0", -1),
        ("loss.0.label_smoothing", 1),
        ("optimizer.lr", 0),
        ("optimizer.lr", 10**400),
        ("optimizer.weight_decay", -1),
        ("optimizer.momentum", 1),
        ("scheduler.step_size", 0),
        ("scheduler.gamma", 2),
        ("scheduler.warmup_epochs", -1),
        ("train.epochs", 0),
        ("train.max_steps", 0),
        ("train.batch_size", 0),
        ("train.accumulate", 0),
        ("train.precision", "fp64"),
        ("train.ema_decay", 1),
        ("train.grad_clip", 0),
        ("train.workers", -1),
        ("train.threads", 0),
        ("train.seed", -1),
        ("train.seed", 2**63),
        ("train.checkpoint_every_steps", 0),
        ("train.early_stopping.metric", "loss"),
        ("train.early_stopping.patience", 0),
        ("eval.every_epochs", 0),
        ("eval.batch_size", 0),
        ("eval.window.0", 0),
    ],
)
def test_values_out_of_range_are_refused(path: str, value: Any) -> None:
    """Each limit is told with the path and the value."""
    data = put(path, value)
    start = path if not path.startswith("data.splits") else "data.splits."
    assert any(line.startswith(f"{start}") and " = " in line for line in refusal(data).splitlines())


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "..",
        "a/b",
        "/abs",
        "a\\b",
        "os:system",
        "__import__",
        ".hidden",
        "-x",
        "",
        " ",
        "a b",
        "a\n",
        "a..b",
        "ü",
    ],
)
def test_a_runs_name_cannot_leave_its_folder(name: str) -> None:
    """The name becomes a folder below runs/: no separators, no parent, nothing hidden, no option."""
    assert refusal(put("name", name)).startswith(f"name = {json.dumps(name, ensure_ascii=False)}: ")


@pytest.mark.parametrize("name", ["a", "A-1", "voc_unet.v2", "2024", "x" * 100])
def test_honest_names_pass(name: str) -> None:
    """Letters, digits, dots, dashes and underscores, up to a hundred."""
    assert validate(put("name", name)).name == name


def test_long_name_is_refused() -> None:
    """File systems have limits."""
    assert "at most 100" in refusal(put("name", "x" * 101))


@pytest.mark.parametrize("key", ["recipe_version", "name", "model", "data"])
def test_required_keys(key: str) -> None:
    """Four keys cannot be left out."""
    assert refusal({name: value for name, value in FULL.items() if name != key}) == f"{key}: this key is required"


def test_required_keys_of_sections() -> None:
    """Inside a choice, the path is that of the data; without a choice, the choice is what is required."""
    assert refusal(with_data(format="folder")) == "data.classes: this key is required"
    assert refusal(put("loss.0", {})) == "loss.0.name: this key is required"
    assert refusal(put("scheduler", {"name": "step"})) == "scheduler.step_size: this key is required"
    assert refusal(put("data.image_size", [64])) == "data.image_size.1: this item is required"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval": {"split": "dev"}}, "data has no split 'dev'; it has train, val, test"),
        ({"data": {"format": "shapes", "counts": {"val": 3}}, "eval": {}}, "data has no split 'train'; it has val"),
        ({"data": {"format": "shapes", "counts": {"train": 3}}, "eval": {}}, "data has no split 'val'; it has train"),
        ({"data": {"format": "camvid", "splits": {"val": "val"}}, "eval": {}}, "data has no split 'train'; it has val"),
    ],
)
def test_splits_must_exist(changes: dict[str, Any], message: str) -> None:
    """What is trained and what is scored are splits that the data has."""
    assert refusal(FULL | changes) == message


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"splits": {"train": 0.9, "val": 0.2}}, "data: the fractions of splits sum to 1.1, more than 1"),
        ({"classes": [CLASSES[0], CLASSES[0]]}, "data: classes repeat the name 'a'"),
        ({"ignore_index": 1}, "data: ignore_index 1 is also the class 'b'"),
        ({"images": None}, "data: images and masks are given together or not at all"),
        ({"splits": {"train": "train", "val": "val"}}, "data: with images and masks there are no official splits"),
        ({"classes": [{"name": "a"}, {"name": "b"}]}, "data: mask_mode 'rgb' needs a color for every class"),
        (
            {"mask_mode": "binary", "classes": [*CLASSES, {"name": "c"}]},
            "data: mask_mode 'binary' needs two classes, got 3",
        ),
        ({"classes": CLASSES[:1]}, "data.classes = "),
        ({"size": [9, 9]}, "data.size = [9, 9]: unknown key."),
        ({"year": "2012"}, 'data.year = "2012": unknown key.'),
    ],
)
def test_folder_must_be_consistent(section: dict[str, Any], message: str) -> None:
    """Contradictions inside the data section are found before any file is."""
    told = refusal(put("eval", {}) | {"data": FULL["data"] | section})
    assert told.startswith(message)
    assert "\n" not in told


def test_fractions_may_sum_to_one_in_floats() -> None:
    """Ten tenths are one, whatever floating point says; what is left over stays unused."""
    tenths = {"train": 0.1} | {f"part{index}": 0.1 for index in range(8)} | {"val": 0.1}
    validate(with_data(format="camvid", splits=tenths))
    validate(with_data(format="camvid", splits={"train": 0.1, "val": 0.1}))
    validate(with_data(format="camvid", splits={"train": 0.7, "val": 0.2, "test": 0.1}))


@pytest.mark.parametrize("format_", ["voc", "camvid", "oxford_pets", "cityscapes", "ade20k", "folder", "shapes"])
def test_formats_of_the_design_are_taken(format_: str) -> None:
    """Each format has its own keys; a key of another never passes."""
    required = {"root": "x", "classes": CLASSES} if format_ == "folder" else {}
    assert validate(with_data(format=format_, **required)).data.format == format_
    other = {"root": "x"} if format_ == "shapes" else {"counts": {"train": 1}}
    assert "unknown key" in refusal(with_data(format=format_, **required, **other))


def test_year_of_voc_is_text() -> None:
    """A year is a name of a release, not a number to count with."""
    assert validate(with_data(format="voc", year="2007")).data.model_dump()["year"] == "2007"
    assert (
        refusal(with_data(format="voc", year=2012)) == "data.year = 2012: expected '2007', '2012'. Did you mean '2012'?"
    )


@pytest.mark.parametrize(
    ("union", "names"),
    [
        (LossTerm, "cross_entropy focal distance_focal dice jaccard lovasz tversky ohem boundary_cross_entropy"),
        (OptimizerSection, "sgd adam adamw"),
        (SchedulerSection, "constant poly cosine step onecycle plateau"),
        (DataSection, "voc camvid oxford_pets cityscapes ade20k folder shapes"),
    ],
)
def test_choices_are_those_of_the_design(union: Any, names: str) -> None:
    """Each name of the design's table is one class, told by its name or format."""
    members = get_args(get_args(union)[0])
    tags = {
        get_args(member.model_fields["format" if union is DataSection else "name"].annotation) for member in members
    }
    assert tags == {(name,) for name in names.split()}


def test_every_section_is_frozen_and_strict() -> None:
    """No class of the schema forgets what the base class sets; transforms alone take further keys."""
    kinds = [kind for kind in all_subclasses(Frozen) if kind.__module__.startswith("segzoo.recipe")]
    assert len(kinds) > 30
    for kind in kinds:
        assert kind.model_config["frozen"], kind
        assert kind.model_config["strict"], kind
        assert not kind.model_config["allow_inf_nan"], kind
        assert kind.model_config["extra"] == ("allow" if kind.__name__ == "AugmentEntry" else "forbid"), kind


def all_subclasses(kind: type) -> list[type[BaseModel]]:
    """Return the classes that derive from a class, directly or not."""
    return [deeper for child in kind.__subclasses__() for deeper in (child, *all_subclasses(child))]
