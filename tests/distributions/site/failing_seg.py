"""A good spec, but its builder raises."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


FAILING = ModelSpec(
    name="failing",
    summary="One convolution",
    family="tests",
    builder="failing_seg_nets:build",
    params=PlainParams,
    license="MIT",
)
