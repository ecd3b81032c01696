"""A good spec, to which the entry point does not lead."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


POINTING = ModelSpec(
    name="pointing",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
)
