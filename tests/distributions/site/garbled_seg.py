"""A good module, but its entry points are not UTF-8."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


GARBLED = ModelSpec(
    name="garbled",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
)
