"""A model as it should be."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


PLAIN = ModelSpec(
    name="plain",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
)
