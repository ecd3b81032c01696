"""Which modules are running."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from segzoo.analysis.calls import Calls


class Looks(nn.Module):
    """Notes which modules run while it does; fails on a negative image."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Calls | None = None
        self.seen: list[tuple[set[str], str]] = []

    def forward(self, image: Tensor) -> Tensor:
        """Return the image."""
        assert self.calls is not None
        self.seen.append((self.calls.running(), self.calls.innermost()))
        if image.min() < 0:
            raise ValueError("negative")
        return image


def test_names_of_the_stack() -> None:
    """The module that runs, and those that called it, are told; before and after none is."""
    inner = Looks()
    model = nn.Sequential(nn.ReLU(), nn.Sequential(inner))
    with Calls(model) as calls:
        inner.calls = calls
        assert (calls.running(), calls.innermost()) == ({""}, "")
        model(torch.ones(1))
        assert (calls.running(), calls.innermost()) == ({""}, "")
    assert inner.seen == [({"", "1", "1.0"}, "1.0")]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_holders_run_with_what_they_hold() -> None:
    """A list of modules runs while one of its members does, although nobody calls it."""
    inner = Looks()

    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Sequential(nn.ReLU(), inner)])

        def forward(self, image: Tensor) -> Tensor:
            return self.blocks[0](image)

    model = Holds()
    with Calls(model) as calls:
        inner.calls = calls
        model(torch.ones(1))
    assert inner.seen == [({"", "blocks", "blocks.0", "blocks.0.1"}, "blocks.0.1")]


def refuse(*_: object) -> None:
    """Stand for a hook that refuses an image."""
    raise ValueError("refused")


def test_calls_that_fail_end() -> None:
    """A module that raises, in its hook or in itself, runs no longer."""
    inner = Looks()
    model = nn.Sequential(inner)
    with Calls(model) as calls:
        inner.calls = calls
        with pytest.raises(ValueError, match="negative"):
            model(-torch.ones(1))
        assert calls.running() == {""}
    inner.register_forward_pre_hook(refuse)
    with Calls(model) as calls:
        with pytest.raises(ValueError, match="refused"):
            model(torch.ones(1))
        assert calls.running() == {""}
