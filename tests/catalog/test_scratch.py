"""The specs of the networks built from scratch say what their parameters mean."""

import pytest

from segzoo.catalog.scratch import SPECS, UNetParams
from segzoo.errors import ParamsError
from segzoo.params import validate_params
from segzoo.spec import ModelSpec


def spec(name: str) -> ModelSpec:
    """Return a spec by its name."""
    return next(spec for spec in SPECS if spec.name == name)


def test_unet_without_padding_needs_larger_images() -> None:
    """Only the input changes: the smallest image from 16 to 188 pixels, and 92 pixels a side without logits."""
    unet = spec("unet")
    unpadded = unet.refined(UNetParams(padding=0))

    assert unet.refined(UNetParams()) == unet
    assert (unet.input.min_size, unet.input.margin) == (16, 0)
    assert (unpadded.input.min_size, unpadded.input.margin) == (188, 92)
    assert unpadded.model_copy(update={"input": unet.input}) == unet


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("unet", {"padding": 2}, "padding"),
        ("unet", {"upsampling": "bilinaer"}, "bilinear"),
        ("unet", {"dropout": 1.0}, "dropout"),
        ("unet", {"paddding": 0}, "padding"),
        ("segnet_basic", {"conv_bias": True}, "conv_bias"),
        ("segnet_pets_separable", {"padding": 1}, "padding"),
    ],
)
def test_wrong_parameters_do_not_pass(name: str, params: dict[str, object], message: str) -> None:
    """An unknown name or a value out of range is told with the parameter or the nearest value."""
    with pytest.raises(ParamsError, match=message):
        validate_params(spec(name), params)
