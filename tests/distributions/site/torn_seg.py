"""A good module, but an interrupted installation left no METADATA."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


TORN = ModelSpec(
    name="torn",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
)
