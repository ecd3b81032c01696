"""A good spec, but the network returns half the size."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


MISSHAPEN = ModelSpec(
    name="misshapen",
    summary="One convolution",
    family="tests",
    builder="misshapen_seg_nets:build",
    params=PlainParams,
    license="MIT",
)
