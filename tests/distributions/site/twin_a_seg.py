"""Offers a model under the name that ``twin-b-seg`` uses, too."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


TWIN = ModelSpec(
    name="twin",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
)
