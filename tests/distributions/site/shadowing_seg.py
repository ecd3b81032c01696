"""Offers a model under the name of a built-in."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


SEGNET = ModelSpec(
    name="segnet",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
)
