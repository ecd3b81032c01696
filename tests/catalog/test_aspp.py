"""There is one ASPP head of each paper on each encoder, and its parameters are strict."""

import pytest

from segzoo.catalog.aspp import SPECS
from segzoo.catalog.smp import ENCODER_WEIGHTS
from segzoo.errors import ParamsError
from segzoo.params import validate_params
from segzoo.spec import ModelSpec

every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def test_names_are_head_and_encoder() -> None:
    """Two heads on three encoders are six models."""
    assert [spec.name for spec in SPECS] == [
        "aspp_resnet18",
        "aspp_resnet34",
        "aspp_mobilenet_v2",
        "aspp_plus_resnet18",
        "aspp_plus_resnet34",
        "aspp_plus_mobilenet_v2",
    ]


@every_spec
def test_weights_are_those_of_the_encoder_in_the_name(spec: ModelSpec) -> None:
    """The tag ``imagenet`` is the default and fills the encoder alone."""
    encoder = spec.name.removeprefix("aspp_").removeprefix("plus_")

    assert spec.fixed == {"encoder": encoder}
    assert spec.weights == {"imagenet": ENCODER_WEIGHTS[encoder]}
    assert spec.default_weights == "imagenet"
    assert spec.weights["imagenet"].part == "encoder"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"encoder": "resnet50"}, "encoder"),
        ({"attention": "scse"}, "attention"),
        ({"output_stride": 32}, "output_stride"),
        ({"atrous_rates": [6, 12]}, "atrous_rates"),
        ({"atrous_rates": [6, 12, 0]}, "atrous_rates"),
        ({"dropout": -0.1}, "dropout"),
        ({"atention": "se"}, "attention"),
    ],
)
@every_spec
def test_wrong_parameters_do_not_pass(spec: ModelSpec, params: dict[str, object], message: str) -> None:
    """An unknown name, another encoder or a value out of range is told by name."""
    with pytest.raises(ParamsError, match=message):
        validate_params(spec, params)
