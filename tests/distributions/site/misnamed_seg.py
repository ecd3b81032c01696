"""A good spec, but the entry point's name is none of a model."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


MISNAMED = ModelSpec(
    name="misnamed",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
)
