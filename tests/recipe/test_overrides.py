"""``--set`` reaches every key of a recipe, and no other."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from segzoo.errors import RecipeError
from segzoo.recipe.overrides import apply_overrides
from segzoo.recipe.schema import Recipe

BASE: dict[str, Any] = {
    "recipe_version": 1,
    "name": "small",
    "model": {"name": "fast_scnn"},
    "data": {"format": "voc", "image_size": [64, 64]},
    "augment": [{"name": "OneOf", "transforms": [{"name": "Blur"}, {"name": "NoOp"}]}],
    "loss": [{"name": "cross_entropy"}, {"name": "dice"}],
    "train": {"epochs": 2},
}


def changed(*assignments: str) -> dict[str, Any]:
    """Return the recipe's data with the assignments applied."""
    return apply_overrides(BASE, assignments)


def recipe(*assignments: str) -> Recipe:
    """Return the recipe with the assignments applied."""
    return Recipe.model_validate_json(json.dumps(changed(*assignments)))


def at(data: Any, path: str) -> Any:
    """Return what lies at a path."""
    for key in path.split("."):
        data = data[int(key)] if isinstance(data, list) else data[key]
    return data


def refusal(*assignments: str) -> str:
    """Return the message that an assignment gets."""
    with pytest.raises(RecipeError) as caught:
        changed(*assignments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("train.epochs=3", 3),
        ("train.channels_last=true", True),
        ("optimizer.lr=1e-3", 0.001),
        ("model.weights=null", None),
        ("model.weights=imagenet", "imagenet"),
        ('model.weights="imagenet"', "imagenet"),
        ("model.params.width=8", 8),
        ("model.params.deep.key=[1, 2]", [1, 2]),
        ("data.image_size=[32, 48]", [32, 48]),
        ("data.image_size.1=48", 48),
        ("loss.1.weight=0.5", 0.5),
        ('loss.0={"name": "dice"}', {"name": "dice"}),
        ("loss=[]", []),
        ("augment.0.transforms.1.p=0.1", 0.1),
        ("augment.0.transforms.0.blur_limit=[3, 5]", [3, 5]),
        ("requires=[]", []),
        ("$schema=x.json", "x.json"),
    ],
)
def test_value_is_json_or_else_text(assignment: str, value: Any) -> None:
    """What is JSON is taken as such, the rest as text; the path may lead through lists."""
    found = at(changed(assignment), assignment.partition("=")[0])
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("assignment", "text"),
    [
        ("data.year=2012", "2012"),
        ("name=7", "7"),
        ("description=true", "true"),
        ("description=[1, 2]", "[1, 2]"),
        ('description={"a": 1}', '{"a": 1}'),
        ("description=NaN", "NaN"),
        ("description=a=b==c", "a=b==c"),
        ("description=", ""),
        ('description="quoted"', "quoted"),
        ("description= spaces ", " spaces "),
        ("model.weights=18", "18"),
        ("eval.split=1", "1"),
        ("transfer.tap=3", "3"),
        ("loss.0.name=1", "1"),
        ("augment.0.name=1", "1"),
        ("data.root=1", "1"),
    ],
)
def test_text_fields_keep_what_was_typed(assignment: str, text: str) -> None:
    """Where only text is valid, a number is text; the first ``=`` ends the path."""
    assert at(changed(assignment), assignment.partition("=")[0]) == text


@pytest.mark.parametrize("assignment", ["model.weights=null", "data.year=null"])
def test_null_is_null_in_text_fields_too(assignment: str) -> None:
    """There is no other way to say random weights."""
    assert at(changed(assignment), assignment.partition("=")[0]) is None


def test_numbers_that_are_not_finite_do_not_slip_in() -> None:
    """They are refused in files, and here they are mere text, which no number's field takes."""
    entry = {"name": "Blur", "blur_limit": float("nan")}
    assert changed(f"augment.0={json.dumps(entry)}")["augment"][0] == '{"name": "Blur", "blur_limit": NaN}'
    assert changed("optimizer.lr=1e999")["optimizer"]["lr"] == "1e999"
    assert changed('model.params={"a": 1, "a": 2}')["model"]["params"] == '{"a": 1, "a": 2}'


def test_sections_that_the_file_lacks_begin_with_their_default() -> None:
    """A key of an absent section changes that key and nothing else."""
    assert recipe("optimizer.lr=0.5").optimizer == recipe('optimizer={"name": "adamw", "lr": 0.5}').optimizer
    assert recipe("scheduler.power=2").scheduler.name == "poly"
    assert recipe("eval.every_epochs=5").eval.split == "val"
    assert recipe("train.early_stopping.patience=3").train.early_stopping is not None
    assert recipe("train.early_stopping.patience=3", "train.early_stopping.min_delta=0.1").train.epochs == 2


def test_lists_and_mappings_that_the_file_lacks_begin_with_their_default() -> None:
    """The default loss can be weighted, and one of the default splits changed, without repeating the rest."""
    bare = {key: value for key, value in BASE.items() if key != "loss"} | {"data": {"format": "shapes"}}
    data = apply_overrides(bare, ["loss.0.weight=2", "data.counts.val=8"])
    assert data["loss"] == [{"name": "cross_entropy", "weight": 2}]
    assert data["data"]["counts"] == {"train": 512, "val": 8}
    again = apply_overrides(bare, ["data.counts.train=8"])
    assert again["data"]["counts"] == {"train": 8, "val": 64}, "the default itself must not change"


def test_section_that_is_null_can_be_begun() -> None:
    """Null in the file is as good as absent."""
    data = apply_overrides(BASE | {"train": {"early_stopping": None}}, ["train.early_stopping.patience=3"])
    assert data["train"]["early_stopping"] == {"patience": 3}


def test_assignments_are_applied_in_order() -> None:
    """A later one sees what an earlier one made, and wins."""
    assert changed("train.epochs=3", "train.epochs=4")["train"]["epochs"] == 4
    assert changed("scheduler.name=step", "scheduler.step_size=5")["scheduler"] == {"name": "step", "step_size": 5}
    assert "has no key 'power'" in refusal("scheduler.name=step", "scheduler.power=2")


def test_the_data_itself_is_left_alone() -> None:
    """A copy is changed."""
    before = copy.deepcopy(BASE)
    changed("loss.0.weight=3", "data.image_size.0=1", "model.params.width=1")
    assert before == BASE


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.epocs=3", "--set train.epocs: train has no key 'epocs'. Did you mean 'epochs'?"),
        ("trian.epochs=3", "--set trian.epochs: a recipe has no key 'trian'. Did you mean 'train'"),
        ("data.yaer=2012", "--set data.yaer: data has no key 'yaer'. Did you mean 'year'?"),
        ("data.num_classes=3", "--set data.num_classes: data has no key 'num_classes'. Did you mean 'classes'?"),
        ("loss.1.wieght=3", "--set loss.1.wieght: loss.1 has no key 'wieght'. Did you mean 'weight'?"),
        ("loss.1.gamma=3", "--set loss.1.gamma: loss.1 has no key 'gamma'. Known keys: name, weight."),
        ("optimizer.momentum=1", "--set optimizer.momentum: optimizer has no key 'momentum'. Known keys: name, lr,"),
        ("train.early_stopping.patiense=1", "--set train.early_stopping.patiense: train.early_stopping has no key"),
        ("loss.2.weight=1", "--set loss.2.weight: the list has positions 0 to 1, not '2'"),
        ("loss.-1.weight=1", "--set loss.-1.weight: the list has positions 0 to 1, not '-1'"),
        ("loss.².weight=1", "--set loss.².weight: the list has positions 0 to 1, not '²'"),
        ("loss.weight=1", "--set loss.weight: the list has positions 0 to 1, not 'weight'"),
        ("requires.0=x", "--set requires.0: the list has no items, not '0'"),
        ("train.epochs.x=1", "--set train.epochs.x: 2 has no key 'x'"),
        ("train..epochs=1", "--set train..epochs: train has no key ''."),
        ("train.epochs", "--set train.epochs: expected key=value, such as train.epochs=3"),
        ("=3", "--set =3: expected key=value, such as train.epochs=3"),
        ("", "--set : expected key=value, such as train.epochs=3"),
    ],
)
def test_path_that_leads_nowhere_is_refused(assignment: str, message: str) -> None:
    """The path and the nearest key are named; no key is made up."""
    assert refusal(assignment).startswith(message)


def test_deep_value_is_text() -> None:
    """A value that would exhaust the stack is taken as the text that it is."""
    deep = "[" * 5000 + "]" * 5000
    assert changed(f"model.params.width={deep}")["model"]["params"]["width"] == deep
