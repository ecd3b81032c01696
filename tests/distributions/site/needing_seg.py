"""Requires a package that nobody installed."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


NEEDING = ModelSpec(
    name="needing",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
    requires=("package-that-nobody-installed>=2",),
)
