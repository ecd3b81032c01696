"""What the commands share that build a model in order to look inside it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from segzoo.errors import PluginError, SegzooError, UsageFault, fault_text
from segzoo.plugins import stdout_to_stderr
from segzoo.registry import Entry

if TYPE_CHECKING:
    from torch import nn

CHANNELS = 3


def build(entry: Entry, *, num_classes: int) -> nn.Module:
    """Build a model with its default parameters; the random weights are the same each time."""
    import torch

    from segzoo.build import create_model

    torch.manual_seed(0)
    return create_model(entry.id, num_classes=num_classes, in_channels=CHANNELS)


@contextlib.contextmanager
def looking_into(entry: Entry) -> Iterator[None]:
    """Run a model's own code: what it prints goes to stderr, and what it raises ends in one message.

    Raises:
        UsageFault: For a ``ValueError``: the model does not take such an image.
        PluginError: For whatever else a plugin raises.
    """
    try:
        with stdout_to_stderr():
            yield
    except SegzooError:
        raise
    except ValueError as error:
        raise UsageFault(f"{entry.id}: {error}") from error
    except Exception as error:
        if entry.distribution == "segzoo":
            raise
        raise PluginError(f"the plugin {entry.id} fails: {fault_text(error)}") from error
