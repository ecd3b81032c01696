"""Rows of a head go to the classes of the same name, in every dimension that counts classes and in no other."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from segzoo.build import build_from_spec
from segzoo.catalog import BUILTIN_SPECS
from segzoo.errors import UsageFault
from segzoo.params import validate_params
from segzoo.spec import ModelSpec
from segzoo.weights.heads import HeadMatch, match_head

OURS = ["road", "car", "tree"]
"""Three classes, of which the file has two."""

THEIRS = ["sky", "tree", "fence", "road", "pole"]
SAME_COUNT = ["tree", "road", "sky"]


class Model(nn.Module):
    """Nothing but a head."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.head = nn.Sequential(*layers)
        for index, tensor in enumerate(self.state_dict().values()):
            if tensor.is_floating_point():
                tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape) + 1000 * index)


class FCNHead(nn.Module):
    """Scores of deep and shallow features, enlarged by learned transposed convolutions; no score is named like one."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(classes, classes, 4, stride=2, bias=False)
        self.deep = nn.Conv2d(7, classes, 1)
        self.shallow = nn.Conv2d(6, classes, 1)
        self.last = nn.ConvTranspose2d(classes, classes, 4, stride=2, groups=classes)


def by_hand(own: Tensor, given: Tensor, axes: tuple[int, ...], ours: Sequence[str], theirs: Sequence[str]) -> Tensor:
    """Return the merged tensor, one value at a time."""
    merged = own.clone()
    for place in torch.cartesian_prod(*(torch.arange(size) for size in own.shape)).reshape(-1, own.ndim).tolist():
        source = list(place)
        if all(ours[place[axis]] in theirs for axis in axes):
            for axis in axes:
                source[axis] = theirs.index(ours[place[axis]])
            merged[tuple(place)] = given[tuple(source)]
    return merged


def match(model: nn.Module, file: nn.Module, ours: Sequence[str] | None, theirs: Sequence[str] | None) -> HeadMatch:
    """Return what the head of ``model`` can keep of that of ``file``."""
    return match_head(model, file.state_dict(), classes=ours, file_classes=theirs)


def check(model: nn.Module, file: nn.Module, theirs: Sequence[str], axes: dict[str, tuple[int, ...]]) -> HeadMatch:
    """Assert which dimensions count classes, and that every merged tensor is right value by value."""
    found = match(model, file, OURS, theirs)
    assert dict(found.axes) == axes
    own, given = model.state_dict(), file.state_dict()
    for name in axes:
        expected = by_hand(own[name], given[name], axes[name], OURS, theirs)
        assert torch.equal(found.merge(name, own[name], given[name]), expected)
        assert not torch.equal(expected, own[name])
    return found


def on_meta(spec: ModelSpec, num_classes: int) -> nn.Module:
    """Return a model without memory for its tensors; what cannot be built there is moved there."""
    params = validate_params(spec, {})
    try:
        with torch.device("meta"):
            return build_from_spec(spec, params, in_channels=3, num_classes=num_classes)
    except RuntimeError:
        return build_from_spec(spec, params, in_channels=3, num_classes=num_classes).to("meta")


@pytest.mark.parametrize("theirs", [THEIRS, SAME_COUNT])
def test_a_convolution_has_one_row_for_each_class(theirs: list[str]) -> None:
    """Weights and bias go by name, whether the numbers of classes differ or not."""
    found = check(
        Model(nn.Conv2d(8, 3, 1)),
        Model(nn.Conv2d(8, len(theirs), 1)),
        theirs,
        {"head.0.weight": (0,), "head.0.bias": (0,)},
    )
    assert found.told == "2 of 3 classes kept by name (new: car)"


@pytest.mark.parametrize("theirs", [THEIRS, SAME_COUNT])
def test_a_batch_norm_of_the_scores_goes_along(theirs: list[str]) -> None:
    """Its statistics are the classes', too; its counter belongs to none of them."""

    def model(classes: int) -> Model:
        return Model(nn.Conv2d(8, classes, 3, bias=False), nn.BatchNorm2d(classes), nn.ReLU())

    leaves = ("1.weight", "1.bias", "1.running_mean", "1.running_var")
    check(model(3), model(len(theirs)), theirs, {f"head.{leaf}": (0,) for leaf in ("0.weight", *leaves)})


@pytest.mark.parametrize("theirs", [THEIRS, SAME_COUNT])
def test_transposed_convolutions_of_scores_keep_blocks(theirs: list[str]) -> None:
    """In FCN's, both inputs and outputs are classes, so the block of common names is kept; with groups, the rows."""
    axes = {
        "head.0.enlarge.weight": (0, 1),
        "head.0.deep.weight": (0,),
        "head.0.deep.bias": (0,),
        "head.0.shallow.weight": (0,),
        "head.0.shallow.bias": (0,),
        "head.0.last.weight": (0,),
        "head.0.last.bias": (0,),
    }
    check(Model(FCNHead(3)), Model(FCNHead(len(theirs))), theirs, axes)


@pytest.mark.parametrize("theirs", [THEIRS, SAME_COUNT])
def test_a_transposed_convolution_may_give_the_scores(theirs: list[str]) -> None:
    """Its outputs are its second dimension; its inputs are features."""
    check(
        Model(nn.ConvTranspose2d(8, 3, 2)),
        Model(nn.ConvTranspose2d(8, len(theirs), 2)),
        theirs,
        {"head.0.weight": (1,), "head.0.bias": (0,)},
    )


@pytest.mark.parametrize("theirs", [THEIRS, SAME_COUNT])
def test_inner_layers_have_nothing_to_do_with_classes(theirs: list[str]) -> None:
    """A head's own features, a depthwise convolution among them, are not listed: they are loaded as a whole."""

    def model(classes: int) -> Model:
        inner = (nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, groups=6))
        return Model(*inner, nn.Conv2d(6, classes, 3))

    check(model(3), model(len(theirs)), theirs, {"head.3.weight": (0,), "head.3.bias": (0,)})


def test_as_many_features_as_classes_are_told_apart_by_the_file() -> None:
    """Three features and three classes: where the file has five classes, its shapes tell which three are which."""

    def model(classes: int) -> Model:
        return Model(nn.Conv2d(8, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, classes, 1))

    check(model(3), model(5), THEIRS, {"head.2.weight": (0,), "head.2.bias": (0,)})


def test_a_file_may_have_as_many_classes_as_features() -> None:
    """The same, with the coincidence on the file's side."""

    def model(classes: int) -> Model:
        return Model(nn.Conv2d(8, 5, 1), nn.Conv2d(5, classes, 1))

    check(model(3), model(5), THEIRS, {"head.1.weight": (0,), "head.1.bias": (0,)})


def test_a_single_layer_that_reads_as_many_features_as_classes_is_clear() -> None:
    """Its rows are classes, its columns are features."""
    model, file = Model(nn.Conv2d(3, 3, 1)), Model(nn.Conv2d(3, 3, 1))
    file.load_state_dict({name: tensor + 5000 for name, tensor in file.state_dict().items()})
    check(model, file, SAME_COUNT, {"head.0.weight": (0,), "head.0.bias": (0,)})


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(8, 3, 1), nn.Conv2d(3, 3, 1)),
        (nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)),
        (nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)),
        (nn.Conv2d(3, 6, 1), nn.Conv2d(6, 3, 1)),
    ],
)
def test_what_cannot_be_told_apart_starts_at_random(layers: tuple[nn.Module, ...]) -> None:
    """With as many features as classes and other names of as many classes, a guess could scramble the features."""
    model = Model(*layers)

    found = match(model, model, OURS, SAME_COUNT)

    assert found.rows == ()
    assert found.told == "re-initialised: which of its layers with 3 channels hold classes cannot be told"
    wide = {name for name, tensor in model.state_dict().items() if 3 in tensor.shape[:2]}
    assert set(found.axes) == wide


def test_equal_names_load_the_head_whole() -> None:
    """Nothing has to be told apart where nothing changes, whatever the sizes are."""
    model = Model(nn.Conv2d(8, 3, 1), nn.Conv2d(3, 3, 1))
    for theirs in (OURS, tuple(OURS)):
        found = match(model, model, OURS, theirs)
        assert not found.axes
        assert found.told == "3 of 3 classes kept by name"


@pytest.mark.parametrize(("ours", "theirs"), [(None, None), (OURS, None), (None, THEIRS), (None, OURS)])
def test_without_names_a_head_of_as_many_classes_is_loaded_whole(
    ours: list[str] | None, theirs: list[str] | None
) -> None:
    """Any other starts at random, inner layers apart."""
    model = Model(nn.Conv2d(8, 6, 1), nn.Conv2d(6, 3, 1))
    assert match(model, model, ours, None) == HeadMatch({}, (), "")

    found = match(model, Model(nn.Conv2d(8, 6, 1), nn.Conv2d(6, 5, 1)), ours, theirs if theirs != OURS else None)
    assert set(found.axes) == {"head.1.weight", "head.1.bias"}
    assert found.rows == ()
    assert found.told == "re-initialised: the file has 5 classes, the model 3"


def test_no_common_name_keeps_no_row() -> None:
    """Every class is new; of many, the first are named."""
    ours = [f"c{label}" for label in range(8)]
    found = match(Model(nn.Conv2d(4, 8, 1)), Model(nn.Conv2d(4, 3, 1)), ours, OURS)
    assert found.rows == ()
    assert found.told == "0 of 8 classes kept by name (new: c0, c1, c2, c3, c4 and 3 more)"


@pytest.mark.parametrize(
    ("model", "file"),
    [
        (Model(nn.Conv2d(8, 6, 1), nn.Conv2d(6, 3, 1)), Model(nn.Conv2d(8, 7, 1), nn.Conv2d(7, 5, 1))),
        (Model(nn.Conv2d(8, 3, 1)), Model(nn.Conv2d(8, 4, 1))),
        (Model(nn.Conv2d(8, 3, 1)), Model(nn.Conv2d(9, 5, 1))),
        (Model(nn.Conv2d(8, 3, 5)), Model(nn.Conv2d(8, 3, 3))),
    ],
)
def test_other_differences_are_left_to_the_comparison_of_shapes(model: Model, file: Model) -> None:
    """Tensors that differ by more than the numbers of classes are not listed, at least one of them."""
    given = {name: tensor for name, tensor in file.state_dict().items() if name in model.state_dict()}
    found = match_head(model, given, classes=OURS, file_classes=THEIRS)
    own = model.state_dict()
    assert [name for name in given if own[name].shape != given[name].shape and name not in found.axes]


def test_inner_widths_are_not_taken_for_numbers_of_classes() -> None:
    """Where no names are known, the layer that reads the features gives them away."""
    model, file = Model(nn.Conv2d(8, 6, 1), nn.Conv2d(6, 3, 1)), Model(nn.Conv2d(8, 7, 1), nn.Conv2d(7, 3, 1))
    assert "head.1.weight" not in match(model, file, None, None).axes


def test_a_description_that_contradicts_the_tensors_is_refused() -> None:
    """Five names for three scores."""
    model = Model(nn.Conv2d(8, 3, 1))
    with pytest.raises(UsageFault, match="the file names 5 classes, but its head has 3"):
        match(model, model, OURS, THEIRS)


ONE_OF_EACH = {spec.builder: spec for spec in BUILTIN_SPECS}.values()
"""One model of each builder: models that differ by their encoder have the same head."""


@pytest.mark.parametrize("spec", ONE_OF_EACH, ids=lambda spec: spec.builder)
def test_heads_of_the_catalog_are_understood(spec: ModelSpec) -> None:
    """Judged by shapes or by layers, a dimension counts classes where it changes with their number."""
    model, file = (on_meta(spec, num_classes) for num_classes in (5, 7))
    own, given = model.state_dict(), file.state_dict()
    truth = {
        name: tuple(axis for axis in range(tensor.ndim) if tensor.shape[axis] != given[name].shape[axis])
        for name, tensor in own.items()
        if tensor.shape != given[name].shape
    }
    ours, theirs = list("abcde"), list("gfedcba")

    assert truth
    assert dict(match(model, file, ours, theirs).axes) == truth
    assert dict(match(model, model, ours, theirs[-5:]).axes) == truth
