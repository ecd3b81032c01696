"""A good spec, but its builder's module does not exist."""

from segzoo import ModelSpec, Params


class PlainParams(Params):
    """No parameters."""


UNBUILT = ModelSpec(
    name="unbuilt",
    summary="One convolution",
    family="tests",
    builder="module_that_nobody_wrote:build",
    params=PlainParams,
    license="MIT",
)
