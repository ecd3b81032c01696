"""A builder that raises."""

from torch import nn

from segzoo import Params


def build(params: Params, *, in_channels: int, num_classes: int) -> nn.Module:
    """Fail.

    Raises:
        ZeroDivisionError: Always.
    """
    raise ZeroDivisionError("no luck")
