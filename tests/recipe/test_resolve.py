"""A resolved recipe has nothing left to decide, and what cannot run is refused before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segzoo.errors import (
    MissingDistribution,
    NotAvailable,
    ParamsError,
    PluginError,
    RecipeError,
    UnknownModel,
    UsageFault,
)
from segzoo.recipe.overrides import apply_overrides
from segzoo.recipe.resolve import check_requirements, resolve_recipe
from segzoo.recipe.schema import Recipe
from segzoo.registry import BUILTIN, Entry, Registry
from segzoo.spec import InputSpec, ModelSpec, Params, Weights

BASE: dict[str, Any] = {
    "recipe_version": 1,
    "name": "small",
    "model": {"name": "lite"},
    "data": {"format": "shapes"},
}


class LiteParams(Params):
    """Parameters of the models under test."""

    width: int = 8
    rates: tuple[int, ...] = (1, 2)


def make(name: str, **fields: Any) -> ModelSpec:
    """Return a spec."""
    return ModelSpec(
        **{
            "name": name,
            "summary": "A model",
            "family": "acme",
            "builder": "no_such_module:build",
            "params": LiteParams,
            "license": "MIT",
            **fields,
        }
    )


@pytest.fixture(scope="module")
def zoo() -> Registry:
    """A plain model, one with weights, one with auxiliary outputs, one that needs another package, one broken."""
    pinned = Weights(hub="a/b", revision="abc", license="MIT")
    specs = (
        make("lite", input=InputSpec(min_size=64), aliases=("small",)),
        make("heavy", weights={"imagenet": pinned, "coco": pinned}, default_weights="imagenet"),
        make("bare", weights={"imagenet": pinned}),
        make("deep", aux=("aux",)),
        make("unpadded", input=InputSpec(margin=92)),
        make("needy", requires=("no-such-package>=2",)),
    )
    registry = Registry()
    for spec in specs:
        registry.add(Entry(spec.name, BUILTIN, "1", "x:y", lambda spec=spec: spec))  # type: ignore[misc]

    def fail() -> ModelSpec:
        raise PluginError("the plugin acme/gone is broken")

    registry.add(Entry("gone", "acme", "1", "x:y", fail))
    return registry


def resolve(zoo: Registry, *overrides: str) -> Recipe:
    """Return the base recipe, changed and resolved."""
    return resolve_recipe(Recipe.model_validate_json(json.dumps(apply_overrides(BASE, overrides))), zoo)


def test_name_becomes_a_full_id(zoo: Registry) -> None:
    """A run's record tells which model it was, whatever is installed later; an alias ends there, too."""
    assert resolve(zoo).model.name == "segzoo/lite"
    assert resolve(zoo, "model.name=segzoo/lite") == resolve(zoo)
    assert resolve(zoo, "model.name=small") == resolve(zoo)


def test_params_are_filled(zoo: Registry) -> None:
    """Every parameter stands in the resolved recipe, given or default, as JSON data."""
    assert resolve(zoo).model.params == {"width": 8, "rates": [1, 2]}
    assert resolve(zoo, "model.params.rates=[3]").model.params == {"width": 8, "rates": [3]}


def test_resolving_twice_changes_nothing(zoo: Registry) -> None:
    """The resolved recipe is what runs again."""
    for overrides in ([], ["model.name=heavy"], ["model.name=heavy", "model.weights=null"]):
        once = resolve(zoo, *overrides)
        assert resolve_recipe(once, zoo) == once


@pytest.mark.parametrize(
    ("overrides", "weights"),
    [
        (["model.name=heavy"], "imagenet"),
        (["model.name=heavy", "model.weights=coco"], "coco"),
        (["model.name=heavy", "model.weights=null"], None),
        (["model.name=heavy", "transfer.strategy=scratch"], None),
        (["model.name=heavy", "transfer.strategy=scratch", "model.weights=null"], None),
        (["model.name=bare"], None),
        (["model.name=bare", "model.weights=imagenet"], "imagenet"),
        (["model.name=lite"], None),
    ],
)
def test_weights(zoo: Registry, overrides: list[str], weights: str | None) -> None:
    """Absent is the spec's default, null is random, a tag must exist."""
    resolved = resolve(zoo, *overrides).model
    assert resolved.weights == weights
    assert "weights" in resolved.model_fields_set


def test_files_runs_and_repositories_are_kept_as_they_are_written(
    zoo: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path stays relative to the current directory; a repository is not asked for anything."""
    monkeypatch.chdir(tmp_path)
    Path("best.pth").write_bytes(b"")
    describe(Path("runs/lite/model"), "segzoo/lite")
    for weights in ("best.pth", "runs/lite", "runs/lite/model", "hf-hub:owner/name", "hf-hub:owner/name@v1"):
        assert resolve(zoo, f"model.weights={weights}").model.weights == weights


def test_weights_that_cannot_be_loaded_are_refused(
    zoo: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can be known of a file or run is known before anything starts."""
    monkeypatch.chdir(tmp_path)
    describe(Path("runs/heavy/model"), "segzoo/heavy")
    describe(Path("runs/wide/model"), "segzoo/lite", width=16)
    for weights, message in {
        "best.pth": "no file or run directory is named 'best.pth'",
        "runs": "no weight tag of lite named 'runs'",
        "./runs": "runs is a folder, but no run of segzoo",
        "hf-hub:name": "is written hf-hub:owner/name",
        "runs/heavy": "runs/heavy holds segzoo/heavy, not segzoo/lite",
        "runs/wide": "runs/wide holds segzoo/lite with width 16, not 8",
    }.items():
        with pytest.raises(UsageFault, match=message):
            resolve(zoo, f"model.weights={weights}")
    assert resolve(zoo, "model.weights=runs/wide", "model.params.width=16").model.weights == "runs/wide"


def describe(folder: Path, model: str, **params: Any) -> None:
    """Write a ``model`` folder with empty tensors."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    description = {
        "schema_version": 1,
        "id": model,
        "revision": 1,
        "params": params,
        "num_classes": 2,
        "in_channels": 3,
        "classes": [{"name": "a"}, {"name": "b"}],
        "provenance": {"weights_sha256": "0" * 64},
    }
    (folder / "model.json").write_text(json.dumps(description))


def test_scratch_with_weights_is_a_contradiction(zoo: Registry) -> None:
    """The message offers both ways out."""
    with pytest.raises(RecipeError) as caught:
        resolve(zoo, "model.name=heavy", "transfer.strategy=scratch", "model.weights=imagenet")
    assert str(caught.value) == (
        "transfer.strategy 'scratch' starts from random weights, but model.weights is 'imagenet'; "
        "set model.weights to null, or the strategy to 'finetune'"
    )


def test_unknown_tag_gets_a_suggestion(zoo: Registry) -> None:
    """Tags are names like any other."""
    with pytest.raises(UsageFault, match=r"no weight tag of heavy named 'imagnet'; .* Did you mean 'imagenet'\?"):
        resolve(zoo, "model.name=heavy", "model.weights=imagnet")
    with pytest.raises(UsageFault, match="no weight tag of lite named 'imagenet'; it has none"):
        resolve(zoo, "model.weights=imagenet")


def test_unknown_model_and_wrong_params(zoo: Registry) -> None:
    """Both are told with a suggestion, the parameter with its path in the recipe."""
    with pytest.raises(UnknownModel, match=r"no model named 'lit'\. Did you mean 'lite'"):
        resolve(zoo, "model.name=lit")
    with pytest.raises(ParamsError, match=r"lite: model\.params\.widht = 3: unknown key\. Did you mean 'width'\?"):
        resolve(zoo, "model.params.widht=3")
    with pytest.raises(ParamsError, match=r"lite: model\.params\.width = \"8\": input should be a valid integer"):
        resolve(zoo, 'model.params.width="8"')


def test_broken_plugin_fails_when_used(zoo: Registry) -> None:
    """A recipe with a broken model ends with the plugin's reason."""
    with pytest.raises(PluginError, match="acme/gone is broken"):
        resolve(zoo, "model.name=gone")


@pytest.mark.parametrize("size", [[63, 64], [64, 63], [1, 1]])
def test_images_below_the_models_size_are_refused(zoo: Registry, size: list[int]) -> None:
    """The smallest size is exact, for height and width alike."""
    with pytest.raises(RecipeError) as caught:
        resolve(zoo, f"data.image_size={size}")
    assert str(caught.value) == f"data.image_size {size} is below the 64 pixels that lite needs"
    assert resolve(zoo, "data.image_size=[64, 64]").data.image_size == (64, 64)


def test_aux_weight_needs_auxiliary_outputs(zoo: Registry) -> None:
    """A weight that nothing would read is refused."""
    with pytest.raises(RecipeError, match=r"train.aux_weight is set, but lite has no auxiliary output; leave it out"):
        resolve(zoo, "train.aux_weight=0.4")


def test_auxiliary_outputs_are_for_a_later_version(zoo: Registry) -> None:
    """The loop has no loss for them yet, so such a model is refused before it trains, with a weight or without."""
    for overrides in ([], ["train.aux_weight=0.4"]):
        with pytest.raises(NotAvailable, match=r"training deep, which has auxiliary outputs \(aux\),"):
            resolve(zoo, "model.name=deep", *overrides)


def test_logits_smaller_than_the_image_are_for_a_later_version(zoo: Registry) -> None:
    """Masks are not cropped to them yet, and resizing them would shift every label."""
    with pytest.raises(NotAvailable, match="training unpadded without padding, whose logits lack 92 pixels a side,"):
        resolve(zoo, "model.name=unpadded")


@pytest.mark.parametrize(
    "requirement", ["pydantic", "Pydantic>=2", "pydantic[email]>=2,<100", "no-such-package; python_version < '3'"]
)
def test_met_requirements_pass(zoo: Registry, requirement: str) -> None:
    """Installed is installed, in any spelling; what another environment needs is nobody's concern here."""
    assert resolve(zoo, f"requires={json.dumps([requirement])}").requires == (requirement,)


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("no-such-package", "no-such-package is not installed; install it with: pip install no-such-package"),
        ("no-such-package>=1", "no-such-package is not installed; install it with: pip install 'no-such-package>=1'"),
        ('no-such-package; python_version > "3"', """: pip install 'no-such-package; python_version > "3"'"""),
        ("pydantic>=99", " is installed; change it with: pip install 'pydantic>=99'"),
        ("pydantic==0.1", " is installed; change it with: pip install pydantic==0.1"),
    ],
)
def test_unmet_requirements_are_the_environments_fault(zoo: Registry, requirement: str, message: str) -> None:
    """Exit code 3, with what pip should be told."""
    with pytest.raises(MissingDistribution) as caught:
        resolve(zoo, f"requires={json.dumps([requirement])}")
    assert str(caught.value).startswith(f"requires '{requirement}', but ")
    assert str(caught.value).endswith(message)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("requirement", ["", "two words", "x==", "git+https://x/y", "-e ."])
def test_malformed_requirements_are_the_recipes_fault(zoo: Registry, requirement: str) -> None:
    """Exit code 2: no installation could mend it."""
    with pytest.raises(RecipeError) as caught:
        resolve(zoo, f"requires={json.dumps([requirement])}")
    assert str(caught.value).startswith(f"requires: {requirement!r} is not a requirement: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_models_own_requirements_count(zoo: Registry) -> None:
    """What a spec needs is checked like what the recipe needs."""
    with pytest.raises(MissingDistribution, match="pip install 'no-such-package>=2'"):
        resolve(zoo, "model.name=needy")


def test_prereleases_meet_a_requirement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs a development version knows it."""
    monkeypatch.setattr("segzoo.environment.version", lambda _: "2.1.0.dev3+git")
    check_requirements(["x>=2", "x<3"])
    with pytest.raises(MissingDistribution, match=r"x 2\.1\.0\.dev3\+git is installed"):
        check_requirements(["x>=2.1"])


def test_windows_are_as_large_as_the_model_needs(zoo: Registry) -> None:
    """A window that the model does not take is refused as an image is."""
    assert resolve(zoo, "eval.window=[64, 64]").eval.window == (64, 64)
    with pytest.raises(RecipeError, match=r"eval\.window \[64, 8\] is below the 64 pixels that lite needs"):
        resolve(zoo, "eval.window=[64, 8]")


FOLDER = 'data={"format": "folder", "root": "d", "classes": [{"name": "a"}, {"name": "b"}]}'


@pytest.mark.parametrize("in_channels", [1, 4, 13])
def test_images_may_have_other_channels(zoo: Registry, in_channels: int) -> None:
    """With weights of RGB as with random ones: the first convolution is converted when they are loaded."""
    channels = f"model.in_channels={in_channels}"
    for model in ("lite", "heavy"):
        assert resolve(zoo, f"model.name={model}", FOLDER, channels).model.in_channels == in_channels
    assert resolve(zoo, "model.name=heavy", "model.weights=coco", FOLDER, channels).model.weights == "coco"


def test_augmentation_suits_the_channels(zoo: Registry) -> None:
    """A recipe that was not read from a file is checked too."""
    with pytest.raises(RecipeError, match=r"augment\.0\.name: 'ToGray' acts on images of 3 channels"):
        resolve(zoo, FOLDER, "model.in_channels=1", 'augment=[{"name": "ToGray"}]')
