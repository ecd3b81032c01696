"""Requires what is no requirement."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


MUDDLED = ModelSpec(
    name="muddled",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
    requires=("numpy two or later",),
)
