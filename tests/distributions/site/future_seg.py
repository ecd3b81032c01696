"""Written for a segzoo that does not exist yet."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


FUTURE = ModelSpec(
    name="future",
    summary="One convolution",
    family="tests",
    builder="good_seg_nets:build",
    params=PlainParams,
    license="MIT",
    api_version=99,
)
